"""Accuracies of a history at the steps of their learning curves, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.evaluators.base import Curve


class StepAccuracies:
    """Accuracies of n evaluations at each step: the points of their learning curves.

    No memory is allocated for evaluations without curves.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last = np.zeros(0, np.int64)
        self._at: dict[int, np.ndarray] = {}

    def extend(self, count: int, curves: Sequence[Curve] | None) -> None:
        """Append `count` evaluations with their learning curves, if they have any."""
        start = self._count
        self._count += count
        if curves is None or not any(curves):
            return
        self._last = _grown(self._last, self._count, 0)
        for row, curve in enumerate(curves, start):
            if curve:
                self._last[row] = curve[-1].step
            for point in reversed(curve):  # reversed: the first of several points of a step is kept
                column = _grown(self._at.get(point.step, np.zeros(0)), self._count, np.nan)
                column[row] = point.accuracy
                self._at[point.step] = column

    @property
    def last(self) -> np.ndarray:
        """Step of the last point of each evaluation, int64 [n]; 0 if it has no points."""
        self._last = _grown(self._last, self._count, 0)
        return self._last[: self._count]

    def at(self, step: int) -> np.ndarray:
        """Return the accuracy in percent at a step, float64 [n]; NaN without a point there."""
        if step not in self._at:
            return np.full(self._count, np.nan)
        self._at[step] = _grown(self._at[step], self._count, np.nan)
        return self._at[step][: self._count]


def _grown(values: np.ndarray, rows: int, filler: float) -> np.ndarray:
    """Return an array with space for `rows` rows; new rows contain the filler."""
    if rows <= len(values):
        return values
    grown = np.full(max(1024, rows, 2 * len(values)), filler, values.dtype)
    grown[: len(values)] = values
    return grown
