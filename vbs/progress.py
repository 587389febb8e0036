"""How far work is, for people who wait: elapsed and left time, and a line every half minute."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType

from vbs.units import clock

EVERY = 30.0  # seconds after which a pipe gets a line though nothing has ended


def timing(elapsed: float, left: float = math.nan) -> str:
    """Labelled times from seconds: "1:30 elapsed, 4:10 left"; without what is not finite."""
    text = f"{clock(elapsed)} elapsed"
    return f"{text}, {clock(left)} left" if math.isfinite(left) else text


def seconds_left(elapsed: float, done: float, total: float) -> float:
    """Seconds for the rest at the mean speed so far; NaN before anything is done.

    done, total  amounts of work in any one unit: evaluations, steps, shares.
    """
    return elapsed / done * max(total - done, 0.0) if done > 0 else math.nan


class Pulse:
    """A context manager that calls `report` whenever `every` seconds passed without a report.

    A pipe or a log file has no bar that moves: without a sign of life a long training looks as
    if it hung. `report` is called from a thread; `reported` says that a line was just written.
    """

    def __init__(self, report: Callable[[], None], *, every: float = EVERY) -> None:
        self._report, self._every = report, every
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def reported(self) -> None:
        """A line was written: the next one is due `every` seconds from now."""
        self._last = time.monotonic()

    def __enter__(self) -> Pulse:
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(max(0.05, self._last + self._every - time.monotonic())):
            if time.monotonic() - self._last >= self._every:
                self.reported()
                self._report()
