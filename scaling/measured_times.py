"""Times of whole networks on this machine, taken in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from search_spaces.architecture import Architecture

ROUNDS = (5, 30)  # least and most, whatever they take
SECONDS = 2.0  # of measuring for each network, where that gives rounds enough
TYPICAL = 0.25  # the quantile that is kept, as for tables of block times


def measured(
    networks: Sequence[Architecture], *, kind: str, batch: int = 1, device: str = "auto",
    threads: int | None = None, recipe: str = "proxy", say: Callable[[str], None] = print,
) -> list[tuple[float, float]]:  # fmt: skip
    """Seconds and their spread (quartile distance) of each network, for one pass of a batch.

    kind     "latency" or "step_time", see `nas.block_times.timing`.
    threads  of torch on a CPU; None: all processors.

    All networks are run in turn, in rounds: what else the machine does falls on all alike. Raises
    ValueError where memory runs out.
    """
    from nas.block_times.timing import Setting, Subject, images_for, ready
    from train.memory_use import is_out_of_memory

    threads = threads or os.cpu_count() or 1
    setting = Setting(kind, batch=batch, device=device, threads=threads, recipe=recipe)
    runs: list[list[float]] = [[] for _ in networks]
    began = time.perf_counter()
    try:
        with ready(setting):
            # a large network is built anew for each turn, so that one at a time is in memory
            rounds = ROUNDS[1]
            done = 0
            while done < rounds:
                for index, network in enumerate(networks):
                    subject = Subject(network, setting, images_for(network, setting))
                    subject.whole()  # warms up
                    runs[index] += [subject.whole(), subject.whole()]
                done += 1
                if done == 1:
                    each = time.perf_counter() - began
                    budget = SECONDS * len(networks)
                    rounds = int(np.clip(budget / each, *ROUNDS))
                    say(f"times: {rounds} rounds of {len(networks)} networks, about "
                        f"{each * (rounds - 1):.0f} s more")  # fmt: skip
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(
            f"times: memory ran out with a batch of {batch}; use a smaller one"
        ) from None
    quantiles = [np.quantile(found, (0.25, TYPICAL, 0.75)) for found in runs]
    return [(float(typical), float(high - low)) for low, typical, high in quantiles]
