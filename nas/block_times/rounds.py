"""Timing in rounds with detection of contention; all commands time networks by this method.

In each round, all networks run once in random order, so that other load on the machine affects all
of them equally. A run is quiet if its threads hardly waited for a processor; a quiet run takes as
long as on an idle machine. If too few runs are quiet, further rounds follow. If there are still too
few, the time is reported as doubtful: a network of 1.3 ms may take 400 ms while its threads wait
for each other.
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

QUIET = 0.05  # largest share of its time that the threads of a quiet run wait, on average
ENOUGH = 5  # sufficient number of quiet runs
LONGER = 3.0  # longest duration of a measurement, in multiples of the planned seconds
TYPICAL = 0.25  # quantile of the runs that is reported
SPREAD = 0.25  # interquartile range, relative to the time, above which a time is doubtful


class Run(NamedTuple):
    """A run: its result (seconds, or seconds of its parts), and whether it was quiet."""

    result: Any
    quiet: bool


class Timing(NamedTuple):
    """Time of a network.

    seconds  lower quartile of its quiet runs, or of all runs if those are too few.
    spread   interquartile range of the same runs in seconds.
    doubt    reason why the time is doubtful; "" if it is not.
    """

    seconds: float
    spread: float
    doubt: str


def run(task: Callable[[], Any], setting: Setting) -> Run:
    """Run a task once, and record whether its threads waited for a processor.

    The processor time of a single thread excludes other programs, so that its runs are always
    quiet.
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
    """Call all functions in rounds; return the runs of each, and the load of the machine.

    turns     functions that run a task once or a few times.
    seconds   approximate duration.
    limits    least and most rounds, regardless of the duration.
    rounds    fixed number of rounds; None: as many as the seconds allow, and more if too few runs
              are quiet.
    rng       generator of the order within each round; None: the order of `turns`.
    announce  function called after the first round with the number of rounds and the seconds left.
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
    """Return the results of the quiet runs, or of all runs if those are too few."""
    quiet = [one.result for one in runs if one.quiet]
    return quiet if _are_enough(len(quiet), len(runs)) else [one.result for one in runs]


def contention(runs: Sequence[Run], load: Load) -> str:
    """Return why the machine was not idle during runs; "" if enough of them were quiet."""
    quiet = sum(one.quiet for one in runs)
    if _are_enough(quiet, len(runs)):
        return ""
    reason = str(load) or "its threads waited for a processor"
    return f"{reason}; {quiet} of {len(runs)} runs were undisturbed"


def _are_enough(quiet: int, count: int) -> bool:
    return quiet >= min(ENOUGH, count)


def timing(runs: Sequence[Run], load: Load) -> Timing:
    """Return the time of runs whose results are seconds."""
    low, typical, high = np.quantile(chosen(runs), (0.25, TYPICAL, 0.75))
    doubt = contention(runs, load)
    if not doubt and high - low > SPREAD * typical:
        doubt = f"half of the runs differ by more than {SPREAD:.0%}"
        doubt += f"; {load}" if str(load) else ""
    return Timing(float(typical), float(high - low), doubt)
