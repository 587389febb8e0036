"""Prior of the surface over splits (`scaling.surface`) from published trainings.

For a given growth, the regression is a quadratic function of the shares of depth, width and
resolution, which is Scheffe's quadratic: d = share x log(growth), w and r = share x log(growth) /
2; the square of a share is the share minus its products with the others. The slopes are those of a
new recipe, so that the prior includes the differences between recipes.
"""

from __future__ import annotations

import numpy as np

from scaling.published.model import (
    CEILING,
    checked_top1,
    latent,
    load_published,
    models_named,
    predicted_gain,
    steepness,
    terms,
)
from scaling.published.optimum import split_factors
from scaling.surface import Prior, at_growth

FREE = 1e4  # prior variance of the height relative to the mean variance; large: data determine it
PLACES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float64)


def surface_prior(
    growth: float,
    *,
    base_top1: float,
    accuracy: float | None = None,
    weight: float | None = None,
    model: str = "both",
) -> Prior:
    """Return the prior of the surface for one growth, in points.

    base_top1  top-1 of the base in percent on the user's data; clipped to the range of the
               published bases, because slopes depend on it.
    accuracy   mean accuracy of the candidates in percent; None: the prediction of the regression.
    weight     weight of the prior; None: learned by `scaling.surface.fit`; 0: ignored.
    model      "squares", "interactions", or "both".

    Raises ValueError for a growth not above 1 and for accuracies outside (0, 95).
    """
    if not 1 < growth < np.inf:
        raise ValueError(f"growth: {growth!r} is not allowed; use a number above 1")
    low, high = load_published().ranges["base_top1"]
    start = latent(float(np.clip(checked_top1(base_top1), low, high)))
    places = PLACES / PLACES.sum(1, keepdims=True)
    factors = split_factors(places, growth)
    if accuracy is None:
        gain, _ = predicted_gain(factors, base_top1=base_top1, model=model)
        accuracy = min(base_top1 + float(gain.mean()), CEILING - 1)
    points = float(steepness(checked_top1(accuracy)))
    to_weights = np.linalg.inv(at_growth(places)[:, :6])
    means, seconds = [], []
    for each in models_named(model):
        # minus the latent value, so that higher is better
        mapping = -points * to_weights @ terms(np.log(factors), start, each.names)
        means.append(mapping @ each.weights)
        covariance = each.widened**2 * mapping @ each.slopes() @ mapping.T
        seconds.append(covariance + np.outer(means[-1], means[-1]))
    mean = np.mean(means, axis=0)
    covariance = np.mean(seconds, axis=0) - np.outer(mean, mean)
    height = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    scale = float(np.trace(covariance)) / len(mean)
    covariance += scale * (FREE * np.outer(height, height) + 1e-6 * np.eye(len(mean)))
    return Prior(mean, np.linalg.inv(covariance), weight)
