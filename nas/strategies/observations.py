"""Accuracies of evaluations, extrapolated to the last step if they were stopped early."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nas.history import History
from vbs.accuracy import paired_variance

UNEXPLAINED = 0.5  # expected share of the deviation at a step that the extrapolation leaves
TRUST = 3.0  # weight of that expectation, in rows
SLOPE = 0.5  # expected deviation of the slope (final accuracy against accuracy at a step) from 1


class Observations(NamedTuple):
    """Expected final accuracies of n evaluations and their variances, float64 [n] each.

    accuracy  percent, expected at the end of a full evaluation.
    variance  points squared. For a full evaluation, the part of the binomial error that matters in
              comparisons on the same images (`vbs.accuracy.paired_variance`); 0 if the number of
              images is unknown. The variance between trainings is not included: the model
              estimates it.
    """

    accuracy: np.ndarray
    variance: np.ndarray


def observations(history: History, rows: np.ndarray) -> Observations:
    """Return the observations of successful rows [n] of the history.

    The end is a full evaluation or, before the first one, the last step that any row has reached.
    Rows that were stopped earlier are extrapolated by a linear regression over the rows that
    continued from the same step to the end, shrunk towards an equal gain for all. Evaluations are
    stopped because of their accuracy at that step, so the regression on this accuracy is not
    biased by the selection.
    """
    accuracy = history.accuracy[rows].copy()
    variance = paired_variance(accuracy, history.images[rows])
    fidelity = history.fidelity[rows]
    if (fidelity >= 1).all():
        return Observations(accuracy, variance)
    spread, last = float(accuracy.std()), history.steps.last[rows]
    ended = (fidelity >= 1) if (fidelity >= 1).any() else last == last.max()
    for step in np.unique(last[~ended]):
        stopped = ~ended & (last == step)
        passed = np.flatnonzero(ended & (last > step))
        before = history.steps.at(int(step))[rows[passed]]
        known = np.isfinite(before)
        accuracy[stopped], doubt = extrapolated(
            accuracy[stopped], before[known], accuracy[passed[known]], spread=spread
        )
        # the residuals of the regression include the binomial error at both steps
        variance[stopped] = np.maximum(variance[stopped], doubt)
    return Observations(accuracy, variance)


def extrapolated(
    reached: np.ndarray, before: np.ndarray, after: np.ndarray, *, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Extrapolate accuracies at one step to the end; return mean and variance, [n] each.

    reached  [n], accuracies at the step, in percent.
    before   [k], accuracies of other networks at the same step.
    after    [k], accuracies of those networks at the end.
    spread   standard deviation of all accuracies, from which the variance is taken if k is 0.
    """
    count = len(before)
    if not count:
        return reached, np.full(len(reached), (UNEXPLAINED * spread) ** 2)
    expected = (UNEXPLAINED * np.concatenate([reached, before]).std()) ** 2
    gain, distance = after - before, before - before.mean()
    ridge = max(expected, 1e-9) / SLOPE**2
    narrow = distance @ distance + ridge
    slope = distance @ gain / narrow
    left = gain - gain.mean() - slope * distance
    noise = (TRUST * expected + left @ left) / (TRUST + count)
    away = reached - before.mean()
    mean = reached + gain.mean() + slope * away
    return mean, noise * (1 + 1 / count + away**2 / narrow)
