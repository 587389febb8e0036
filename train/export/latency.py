"""Latency of functions, measured alternately, so that other programs disturb all of them alike.

The values are not corrected for other programs; the quartiles show their influence.
`nas.block_times` measures more carefully, for tables that searches use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

TURN = 0.02  # seconds that a function runs before the next one
SECONDS, FEWEST, MOST = 1.5, 15, 1000  # for each function: seconds, fewest and most calls
WARM_UP = 3  # first calls, which are not counted


@dataclass(frozen=True)
class Latency:
    """Seconds of one call: median and quartiles; and the number of calls."""

    median: float
    low: float
    high: float
    calls: int

    def __str__(self) -> str:
        """Return median and quartiles in milliseconds, e.g. "4.21 ms (4.18 to 4.40)"."""
        return f"{_ms(self.median)} ms ({_ms(self.low)} to {_ms(self.high)})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def latencies(
    functions: Mapping[str, Callable[[], Any]], *, seconds: float = SECONDS
) -> dict[str, Latency]:
    """Return the latency of each function, by its name.

    seconds  time for each function; slow functions run at least FEWEST times.
    """
    for function in functions.values():
        for _ in range(WARM_UP):
            function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    waiting = set(functions)
    while waiting:
        for name in [name for name in functions if name in waiting]:
            taken = times[name]
            end = time.perf_counter() + TURN
            while True:
                start = time.perf_counter()
                functions[name]()
                now = time.perf_counter()
                taken.append(now - start)
                if now >= end:
                    break
            if (sum(taken) >= seconds and len(taken) >= FEWEST) or len(taken) >= MOST:
                waiting.discard(name)
    return {name: _summary(taken) for name, taken in times.items()}


def _summary(taken: list[float]) -> Latency:
    low, median, high = np.quantile(taken, (0.25, 0.5, 0.75)).tolist()
    return Latency(median, low, high, len(taken))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"
