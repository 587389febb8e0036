"""Test helper: limits of processor time that also hold on slow and busy machines."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

REFERENCE = 0.036  # processor seconds of `yardstick` on an idle core of the reference machine


def yardstick() -> float:
    """Return the processor seconds of a fixed workload, half in Python and half in NumPy."""
    start = time.process_time()
    total = 0
    for number in range(400_000):
        total += number & 7
    np.sort(np.random.default_rng(total).normal(size=300_000))
    return time.process_time() - start


def slowness() -> float:
    """Return how many times slower this machine is than the idle reference; at least 1."""
    return max(1.0, min(yardstick() for _ in range(3)) / REFERENCE)


def assert_quick(work: Callable[[], object], seconds: float, *, repeats: int = 4) -> None:
    """Check that one of several calls takes less processor time than `seconds` of an idle core.

    Several calls are needed because the first call may do one-time work, and other programs slow
    calls down.
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
