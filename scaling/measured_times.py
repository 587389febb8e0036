"""Times of whole networks on this machine, taken in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from search_spaces.architecture import Architecture
from vbs.failures import is_out_of_memory
from vbs.processes import available_cpus

if TYPE_CHECKING:
    from nas.block_times.timing import Setting

ROUNDS = (5, 100)  # least and most, whatever they take
SECONDS = 2.0  # of measuring for each network, where that gives rounds enough
LONG = 10.0  # the same, where a decision hangs on a few percent


def measured(
    networks: Sequence[Architecture], *, kind: str, batch: int = 1, device: str = "auto",
    threads: int | None = None, recipe: str = "proxy", seconds: float = SECONDS,
    say: Callable[[str], None] = print,
) -> list[tuple[float, float]]:  # fmt: skip
    """Seconds (the lower quartile, as for block times) and their quartile distance of each network,
    for one pass of a batch.

    kind     "latency" or "step_time", see `nas.block_times.timing`.
    threads  of torch on a CPU; None: all processors.
    seconds  of measuring for each network, about.

    All networks are run in turn, in rounds: what else the machine does falls on all alike. Raises
    ValueError where memory runs out.
    """
    from nas.block_times.timing import Setting, ready

    threads = threads or available_cpus()
    setting = Setting(kind, batch=batch, device=device, threads=threads, recipe=recipe)
    try:
        with ready(setting):
            runs = _rounds(networks, setting, seconds, say)
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(
            f"times: memory ran out with a batch of {batch}; use a smaller one"
        ) from None
    quartiles = [np.quantile(found, (0.25, 0.75)) for found in runs]
    return [(float(low), float(high - low)) for low, high in quartiles]


def _rounds(
    networks: Sequence[Architecture],
    setting: Setting,
    seconds: float,
    say: Callable[[str], None],
) -> list[list[float]]:
    """Seconds of each network's runs. One is built anew for each turn: they may be large."""
    from nas.block_times.timing import Subject, images_for

    runs: list[list[float]] = [[] for _ in networks]
    began, done, rounds = time.perf_counter(), 0, ROUNDS[1]
    while done < rounds:
        for index, network in enumerate(networks):
            subject = Subject(network, setting, images_for(network, setting))
            subject.whole()  # warms up
            runs[index] += [subject.whole(), subject.whole()]
        done += 1
        if done == 1:
            each = time.perf_counter() - began
            rounds = int(np.clip(seconds * len(networks) / each, *ROUNDS))
            say(f"times: {rounds} rounds of {len(networks)} networks, about "
                f"{each * (rounds - 1):.0f} s more")  # fmt: skip
    return runs
