"""How far a search is: a bar on a terminal, lines in a pipe, with elapsed and left time."""

from __future__ import annotations

import math
import sys
import threading
import time
from types import TracebackType

from nas.history import History
from search_spaces.cost import MEASURED
from vbs.console import print_err
from vbs.progress import Pulse, seconds_left, timing
from vbs.units import short, short_seconds

LOOK = 1.0  # seconds between two looks for the best so far


class Progress:
    """A context manager; `update` after every extension of the history.

    budget  evaluations that are to come at most, with those that the history came with.

    In a pipe there is a line for every tenth of the budget, and one at least every half minute.
    The time left is known from the first evaluation of this run on.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self._tenth = budget, 0
        self._done, self._printed, self._best = 0, -1, ""
        self._known = 0  # evaluations that the history came with
        self._started, self._next = time.monotonic(), 0.0
        self._lock = threading.Lock()
        self._pulse = Pulse(self._print)
        self._bar = None
        if sys.stderr.isatty():
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            from vbs.tables import Console

            text = TextColumn("{task.description}", markup=False)
            self._bar = Bar(text, BarColumn(), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._line(), total=budget)

    def __enter__(self) -> Progress:
        (self._bar.start if self._bar is not None else self._pulse.__enter__)()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            return
        self._pulse.__exit__(kind, error, trace)
        if self._done != self._printed and self._printed >= 0:
            self._budget = self._done  # no more are to come
            self._print()

    def start(self, history: History) -> None:
        """Count what the history holds as evaluated before."""
        self._known = self._done = len(history)

    def update(self, history: History) -> None:
        """Show how many were evaluated and the best so far."""
        self._done = len(history)
        tenth = 10 * self._done // self._budget
        now = time.monotonic()
        if tenth > self._tenth or now > self._next:  # a long history takes a while to look through
            self._best, self._next = _best(history), now + LOOK
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=self._line())
        elif tenth > self._tenth:
            self._print()
        self._tenth = max(tenth, self._tenth)

    def _print(self) -> None:
        with self._lock:
            self._printed = self._done
            self._pulse.reported()
            print_err(self._line())

    def _line(self) -> str:
        spent, known = time.monotonic() - self._started, self._known
        left = seconds_left(spent, self._done - known, self._budget - known)
        if self._done >= self._budget:
            left = math.nan
        parts = [f"{self._done:>9,} of {self._budget:,} evaluated", timing(spent, left)]
        return ", ".join([*parts, *([self._best] if self._best else [])])


def _best(history: History) -> str:
    try:
        row = history.best()
    except ValueError:
        return "none succeeded yet"
    of = history.objective.of
    cost = float(history.costs.get(of)[row])
    shown = short_seconds(cost) if of in MEASURED else f"{short(cost)} FLOPs"
    known = history.summary(row)
    return f"best reward {known.reward:.2f} ({known.accuracy:.2f}%, {shown})"
