"""Certainty of a ranking of predicted accuracies.

Predictions with standard deviations are treated as independent normal variables. In fact, errors of
similar networks are correlated, so their differences are more certain than this model assumes. The
probabilities are therefore too close to one half; `experiments.fit_long_schedule` measures by how
much.
"""

from __future__ import annotations

import math

import numpy as np

DRAWS = 4000
REACH = 4.5  # deviations; a network further below the best is left out of the draws
CHUNK = 250_000  # values of draws at a time


def probability_better(
    mean: np.ndarray, std: np.ndarray, other_mean: np.ndarray | float, other_std: np.ndarray | float
) -> np.ndarray:
    """Return the probability [n] that each network is better than the other one.

    mean, std              predicted accuracy and standard deviation, [n].
    other_mean, other_std  those of the other networks, [n], or of one other network.
    """
    gap = np.asarray(mean, np.float64) - other_mean
    spread = np.broadcast_to(np.hypot(std, other_std), gap.shape)
    certain = np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5))
    return np.where(spread > 0, _normal(gap / np.where(spread > 0, spread, 1.0)), certain)


def _normal(values: np.ndarray) -> np.ndarray:
    """Return the standard normal distribution function; importing scipy would take long."""
    scaled = (values * -(0.5**0.5)).ravel()
    return np.array([0.5 * math.erfc(each) for each in scaled]).reshape(values.shape)


def probability_best(
    mean: np.ndarray, std: np.ndarray, rng: np.random.Generator, *, draws: int = DRAWS
) -> np.ndarray:
    """Return the probability [n] that each network is the best of all, from `draws` draws."""
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    best = np.zeros(len(mean))
    if not len(mean):
        return best
    near = np.flatnonzero(mean + REACH * std >= (mean - REACH * std).max())
    step = max(1, CHUNK // len(near))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        drawn = mean[near] + std[near] * rng.standard_normal((count, len(near)))
        best += np.bincount(near[drawn.argmax(1)], minlength=len(mean))
    return best / draws


def could_be_best(
    mean: np.ndarray,
    std: np.ndarray,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> np.ndarray:
    """Return the smallest set that contains the best network with probability `confidence`.

    The result has indices [k], the most probable network first. Raises ValueError for a
    confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence!r} is not allowed; use a number between 0 and 1")
    share = probability_best(mean, std, rng, draws=draws)
    order = np.lexsort((-np.asarray(mean), -share))
    reached = int(np.searchsorted(np.cumsum(share[order]), confidence - 1e-12)) + 1
    return order[: min(reached, len(order))]
