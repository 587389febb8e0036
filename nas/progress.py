"""How far a search is: a bar on a terminal, a line for every tenth in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from nas.history import History
from search_spaces.cost import MEASURED
from vbs.units import short, short_seconds


class Progress:
    """A context manager; `update` after every extension of the history."""

    def __init__(self, budget: int) -> None:
        self._budget, self._tenth = budget, 0
        self._started = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("searching", total=budget)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, history: History) -> None:
        """Show how many were evaluated and the best so far."""
        done = len(history)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=self._best(history))
            return
        tenth = 10 * done // self._budget
        if tenth > self._tenth:
            self._tenth = tenth
            seconds = time.monotonic() - self._started
            print(
                f"{done:>9,} of {self._budget:,} evaluated in {seconds:5.1f} s, "
                f"{self._best(history)}",
                file=sys.stderr,
            )

    @staticmethod
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
