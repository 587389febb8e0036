"""The progress display of a search: number of evaluations and best network so far."""

from __future__ import annotations

import time

from nas.history import History
from search_spaces.cost import cost_text
from vbs.progress import State

LOOK = 1.0  # seconds between two updates of the best network, which is slow for long histories


class Shown:
    """The displayed state of a search with at most `budget` evaluations."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._tenth, self._next, self._best = 0, 0.0, ""

    def __call__(self, history: History) -> State:
        """Return the state of a search with this history."""
        count, now = len(history), time.monotonic()
        tenth = 10 * count // max(1, self._budget)
        if count and (tenth > self._tenth or now > self._next):
            self._tenth, self._next, self._best = tenth, now + LOOK, _best(history)
        notes = (self._best,) if self._best else ()
        return State(count, self._budget, "evaluated", notes=notes)


def _best(history: History) -> str:
    try:
        row = history.best()
    except ValueError:
        return "none succeeded yet"
    of = history.objective.of
    cost = float(history.costs.get(of)[row])
    shown = cost_text(of, cost) + " FLOPs" * (of == "flops")
    known = history.summary(row)
    return f"best reward {known.reward:.2f} ({known.accuracy:.2f}%, {shown})"
