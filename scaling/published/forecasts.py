"""What the next member of a family will reach, from those that are trained.

The trained members tell the recipe's own slopes: their prior is that of a new recipe by the
published trainings, and is updated by what the members reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling.published.model import (
    GrowthModel,
    checked_top1,
    latent,
    logs_of,
    models_named,
    steepness,
    terms,
    top1_of,
)
from vbs.text import quoted

FREE = 100.0  # prior variance of the family's constant, latent


@dataclass(frozen=True)
class Forecast:
    """Predicted top-1 of the next members, percent, [m] each.

    top1, std  mean and deviation of one training.
    gain       over the largest trained member, points.
    """

    top1: np.ndarray
    std: np.ndarray
    gain: np.ndarray

    def interval(self, width: float = 1.959964) -> np.ndarray:
        """Lower and upper ends [m, 2], `width` deviations away; 95% by default."""
        return np.stack([self.top1 - width * self.std, self.top1 + width * self.std], axis=1)


def forecast(
    factors: Sequence[Sequence[float]] | np.ndarray,
    top1: Sequence[float] | np.ndarray,
    upcoming: Sequence[Sequence[float]] | np.ndarray,
    *,
    model: str = "both",
) -> Forecast:
    """The top-1 that the next members will reach.

    factors   [k, 3] real depth, width and resolution of the trained members over any one network;
              the smallest member counts as the base.
    top1      of them, percent [k].
    upcoming  [m, 3] factors of the next members over the same network.

    Raises ValueError for fewer than one member, for factors that are not positive and for a top-1
    that is no percentage.
    """
    return forecast_by(models_named(model), factors, top1, upcoming)


def forecast_by(
    models: Sequence[GrowthModel],
    factors: Sequence[Sequence[float]] | np.ndarray,
    top1: Sequence[float] | np.ndarray,
    upcoming: Sequence[Sequence[float]] | np.ndarray,
) -> Forecast:
    """As `forecast`, by these models, each weighed by its evidence for the trained members."""
    known, ahead = logs_of(factors), logs_of(upcoming)
    if np.ndim(top1) != 1:
        raise ValueError(f"top1: {quoted(top1, 60)} is not allowed; use percent of each member")
    reached = np.array([checked_top1(each) for each in top1])
    if len(reached) != len(known) or not len(known):
        raise ValueError(
            f"forecast: {len(known)} members and {len(reached)} accuracies; use one or more of each"
        )
    size = known @ np.array([1.0, 2.0, 2.0])
    base = int(size.argmin())
    logs, later = known - known[base], ahead - known[base]
    found = [_conditioned(each, logs, reached, base, later) for each in models]
    evidence = np.array([each[2] for each in found])
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    points = np.array([each[0] for each in found])
    mean = weight @ points
    variance = weight @ (np.array([each[1] for each in found]) ** 2 + (points - mean) ** 2)
    return Forecast(mean, np.sqrt(variance), mean - reached[int(size.argmax())])


def _conditioned(
    model: GrowthModel, logs: np.ndarray, top1: np.ndarray, base: int, later: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Top-1 of the later members and deviations [m], and the log evidence of the known ones."""
    start = latent(top1[base])
    known, ahead = terms(logs, start, model.names), terms(later, start, model.names)
    slopes = model.widened**2 * model.slopes()
    noise = model.widened**2 * model.noise
    covariance = known @ slopes @ known.T + FREE + noise * np.eye(len(top1))
    left = latent(top1) - start - known @ model.weights
    gain = np.linalg.solve(covariance, known @ slopes @ ahead.T + FREE).T  # [m, k]
    mean = ahead @ model.weights + gain @ left
    own = np.einsum("ni,ij,nj->n", ahead, slopes, ahead) + FREE + noise
    variance = own - np.einsum("nk,nk->n", gain, (known @ slopes @ ahead.T + FREE).T)
    evidence = -(left @ np.linalg.solve(covariance, left) + np.linalg.slogdet(covariance)[1]) / 2
    reached = top1_of(start + mean)
    return reached, steepness(reached) * np.sqrt(np.maximum(variance, 0)), float(evidence)
