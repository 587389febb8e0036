"""What evaluations, full or stopped early, say about accuracy at the end of a full one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nas.history import History
from vbs.accuracy import paired_variance

UNEXPLAINED = 0.5  # of the deviation at a step, before rows that went on say how much is left
TRUST = 3.0  # rows that this expectation weighs
SLOPE = 0.5  # expected deviation of the slope (final accuracy against accuracy at a step) from 1


class Observations(NamedTuple):
    """For n evaluations: expected accuracy in percent where each had continued to the end, and the
    variance of that expectation in points squared; float64 [n] each.

    Of a full evaluation it is the part of the images' binomial error that matters between networks
    (`vbs.accuracy.paired_variance`: all are scored on the same images); 0 where it is not known
    on how many. What training adds to that is for a model to learn.
    """

    accuracy: np.ndarray
    variance: np.ndarray


def observations(history: History, rows: np.ndarray) -> Observations:
    """What successful rows [n] say, extrapolated from each other and nothing else.

    The end is the last step that any of the rows has reached: before the first full evaluation,
    all are compared where the furthest stands. Rows that ended at an earlier step are expected
    where a linear regression over those that passed this step and reached the end puts them,
    shrunk towards an equal gain for all. Evaluations are stopped for what they had reached, so
    that regressing on it is not biased by the choice.
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
        # what the rows that passed were off holds the images' part of both steps
        variance[stopped] = np.maximum(variance[stopped], doubt)
    return Observations(accuracy, variance)


def extrapolated(
    reached: np.ndarray, before: np.ndarray, after: np.ndarray, *, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance [n] at the end of what `reached` [n] at a step at which others, of
    accuracy `after` [k] at the end, had been at `before` [k]. Where k is 0, what was reached
    is doubted by the `spread` of all."""
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
