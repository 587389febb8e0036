"""Timing in rounds, with contention detected: the one way in which networks are timed.

What is timed is run in turn, in rounds of changing order, so that whatever else the machine does
falls on all alike. A run counts as quiet where its threads hardly waited for a processor; the
times of quiet runs are those of an idle machine. Where there are too few of them, rounds are
added for a while, and what is still missing then is reported as a doubt: a network of 1.3 ms may
well read 400 ms while its threads wait for each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vbs.load import LoadWatch, waited

if TYPE_CHECKING:
    from nas.block_times.timing import Setting
    from vbs.load import Load

QUIET = 0.05  # most of a run's time that each of its threads, on average, may wait in a quiet run
ENOUGH = 5  # quiet runs that are enough
LONGER = 3.0  # times the planned seconds that quiet runs are waited for
TYPICAL = 0.25  # quantile that is kept
SPREAD = 0.25  # quartile distance over the time above which a time is in doubt


class Run(NamedTuple):
    """One run: its result (seconds, or those of its parts), and whether it was quiet."""

    result: Any
    quiet: bool


class Timing(NamedTuple):
    """Seconds of a network.

    seconds  the lower quartile of its quiet runs, or of all where they are too few.
    spread   their quartile distance.
    doubt    why it cannot be trusted, in words; "" where it can.
    """

    seconds: float
    spread: float
    doubt: str


def run(task: Callable[[], Any], setting: Setting) -> Run:
    """One run of a task, and whether threads waited for a processor meanwhile.

    The processor time of a single thread does not count the turns of other programs: such runs
    are always quiet.
    """
    if setting.clock == "thread":
        return Run(task(), True)
    before, began = waited(), time.perf_counter()
    result = task()
    seconds, after = time.perf_counter() - began, waited()
    if before is None or after is None:
        return Run(result, True)
    threads = setting.threads if setting.device == "cpu" else 1
    return Run(result, after - before <= QUIET * seconds * threads)


def in_rounds(
    turns: Sequence[Callable[[], Sequence[Run]]],
    *,
    seconds: float,
    limits: tuple[int, int],
    rounds: int | None = None,
    rng: np.random.Generator | None = None,
    announce: Callable[[int, float], None] = lambda rounds, left: None,
) -> tuple[list[list[Run]], Load]:
    """The runs of each turn, and the load of the machine meanwhile.

    turns     functions that run something once or a few times.
    seconds   of measuring, about; limits are the least and most rounds, whatever they take.
    rounds    instead of as many as the seconds allow; none are added then.
    rng       orders each round; None: the order of the turns.
    announce  gets the number of rounds and the seconds left, after the first.
    """
    runs: list[list[Run]] = [[] for _ in turns]
    began, watch, done, planned = time.perf_counter(), LoadWatch(), 0, limits[1]
    while done < planned or (
        rounds is None
        and done < limits[1]
        and _lacking(runs)
        and time.perf_counter() - began < LONGER * seconds
    ):
        for index in range(len(turns)) if rng is None else rng.permutation(len(turns)):
            runs[index] += turns[index]()
        done += 1
        if done == 1:
            each = time.perf_counter() - began
            planned = int(np.clip(seconds / each, *limits)) if rounds is None else rounds
            announce(planned, each * (planned - 1))
    return runs, watch.load()


def _lacking(runs: Sequence[Sequence[Run]]) -> bool:
    return any(sum(one.quiet for one in found) < ENOUGH for found in runs)


def chosen(runs: Sequence[Run]) -> list[Any]:
    """The results of the quiet runs, or of all where those are too few."""
    quiet = [one.result for one in runs if one.quiet]
    return quiet if _are_enough(len(quiet), len(runs)) else [one.result for one in runs]


def contention(runs: Sequence[Run], load: Load) -> str:
    """Why runs do not show an idle machine, in words; "" where enough of them were quiet."""
    quiet = sum(one.quiet for one in runs)
    if _are_enough(quiet, len(runs)):
        return ""
    reason = str(load) or "its threads waited for a processor"
    return f"{reason}; {quiet} of {len(runs)} runs were undisturbed"


def _are_enough(quiet: int, count: int) -> bool:
    return quiet >= min(ENOUGH, count)


def timing(runs: Sequence[Run], load: Load) -> Timing:
    """The time of runs whose results are seconds."""
    low, typical, high = np.quantile(chosen(runs), (0.25, TYPICAL, 0.75))
    doubt = contention(runs, load)
    if not doubt and high - low > SPREAD * typical:
        doubt = f"half of the runs differ by more than {SPREAD:.0%}"
        doubt += f"; {load}" if str(load) else ""
    return Timing(float(typical), float(high - low), doubt)
