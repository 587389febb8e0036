"""Forecasts of the top-1 of a family's next members from its trained members.

The slopes of the recipe have the prior of a new recipe in the published trainings, which is updated
by the top-1 of the trained members.
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

FREE = 100.0  # prior variance of the family's constant, in latent units


@dataclass(frozen=True)
class Forecast:
    """Predicted top-1 of the next members in percent, [m] each.

    top1, std  mean and standard deviation of one training.
    gain       gain over the largest trained member, in points.
    """

    top1: np.ndarray
    std: np.ndarray
    gain: np.ndarray

    def interval(self, width: float = 1.959964) -> np.ndarray:
        """Return lower and upper ends [m, 2], `width` standard deviations away; default: 95%."""
        return np.stack([self.top1 - width * self.std, self.top1 + width * self.std], axis=1)


def forecast(
    factors: Sequence[Sequence[float]] | np.ndarray,
    top1: Sequence[float] | np.ndarray,
    upcoming: Sequence[Sequence[float]] | np.ndarray,
    *,
    model: str = "both",
) -> Forecast:
    """Predict the top-1 of the next members of a family.

    factors   [k, 3] real depth, width and resolution of the trained members relative to any one
              network; the smallest member counts as the base.
    top1      top-1 of the trained members in percent, [k].
    upcoming  [m, 3] factors of the next members relative to the same network.
    model     "squares", "interactions", or "both".

    Raises ValueError if there is no trained member, for factors that are not positive, and for an
    invalid top-1.
    """
    return forecast_by(models_named(model), factors, top1, upcoming)


def forecast_by(
    models: Sequence[GrowthModel],
    factors: Sequence[Sequence[float]] | np.ndarray,
    top1: Sequence[float] | np.ndarray,
    upcoming: Sequence[Sequence[float]] | np.ndarray,
) -> Forecast:
    """Apply `forecast` with these models, weighted by their evidence for the trained members."""
    known, ahead = logs_of(factors), logs_of(upcoming)
    if np.ndim(top1) != 1:
        raise ValueError(f"top1: {quoted(top1, 60)} is not allowed; use a percentage per member")
    reached = np.array([checked_top1(each) for each in top1])
    if len(reached) != len(known) or not len(known):
        raise ValueError(
            f"forecast: {len(known)} members and {len(reached)} accuracies; use one accuracy for "
            "each member"
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
    """Return top-1 and standard deviation of later members [m], and the evidence of known ones."""
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
