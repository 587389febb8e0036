"""Bounds on processor time that hold on slow and busy machines too."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

REFERENCE = 0.036  # processor seconds of `yardstick` on one idle core of the machine of the bounds


def yardstick() -> float:
    """Processor seconds of a fixed piece of work, half of it in Python and half in numpy."""
    start = time.process_time()
    total = 0
    for number in range(400_000):
        total += number & 7
    np.sort(np.random.default_rng(total).normal(size=300_000))
    return time.process_time() - start


def slowness() -> float:
    """How many times slower this machine is now than an idle one; at least 1."""
    return max(1.0, min(yardstick() for _ in range(3)) / REFERENCE)


def assert_quick(work: Callable[[], object], seconds: float, *, repeats: int = 4) -> None:
    """Check that one of several calls takes less processor time than `seconds` of an idle core.

    The first call may have work to do once, and other programs slow every call down.
    """
    spent, factor = [], 1.0
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
        factor = slowness()
        if spent[-1] < seconds * factor:
            return
    raise AssertionError(f"{spent} seconds, {seconds} allowed; {factor:.2f} times an idle core's")
