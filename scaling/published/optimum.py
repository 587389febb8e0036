"""Optimal split of a growth of FLOPs by the published trainings, and splits that tie with it.

A split is the shares of depth, width and resolution in the logarithm of the growth; FLOPs grow by
depth x width^2 x resolution^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scaling.published.model import (
    LARGEST_FACTOR,
    GrowthModel,
    checked_top1,
    is_number,
    latent,
    models_named,
    predicted_gain,
    terms,
    top1_of,
)
from scaling.surface import INTERVAL, simplex
from vbs.text import quoted

TIE = 0.3  # points; two published studies of EfficientNet-B0 differ by as much
DRAWS = 1000
NAMED: Mapping[str, tuple[float, float, float]] = {
    "published (1.2, 1.1, 1.15)": (
        float(np.log(1.2)),
        2 * float(np.log(1.1)),
        2 * float(np.log(1.15)),
    ),
    "equal shares": (1.0, 1.0, 1.0),
    "depth alone": (1.0, 0.0, 0.0),
    "width alone": (0.0, 1.0, 0.0),
    "resolution alone": (0.0, 0.0, 1.0),
}


@dataclass(frozen=True)
class Optimum:
    """The optimal split of a growth, and its uncertainty.

    shares        shares of depth, width and resolution with the highest expected gain, [3].
    coefficients  alpha, beta and gamma of the optimum, [3].
    intervals     95% intervals of the optimal coefficients for a new recipe, [3, 2].
    gain, std     predicted gain at the optimum, in points.
    places        shares that were evaluated, [m, 3].
    expected      expected gain at each of them, [m].
    ties          whether each is within `TIE` points of the best, bool [m].
    undecided     whether each is not worse than the best with 95% certainty, bool [m].
    losses        name of a split, such as "depth alone" -> points by which it is below the best.
    """

    growth: float
    shares: np.ndarray
    coefficients: np.ndarray
    intervals: np.ndarray
    gain: float
    std: float
    places: np.ndarray
    expected: np.ndarray
    ties: np.ndarray
    undecided: np.ndarray
    losses: Mapping[str, float]

    @property
    def tie_ranges(self) -> np.ndarray:
        """Lowest and highest share among the ties, [3, 2]."""
        tied = self.places[self.ties]
        return np.stack([tied.min(0), tied.max(0)], axis=1)


def split_factors(shares: np.ndarray, growth: float) -> np.ndarray:
    """Return depth, width and resolution factors [n, 3] for shares [n, 3] of a growth of FLOPs."""
    return growth ** (np.asarray(shares, np.float64) / np.array([1.0, 2.0, 2.0]))


def best_split(
    growth: float,
    *,
    base_top1: float,
    model: str = "both",
    rng: np.random.Generator | None = None,
) -> Optimum:
    """Return the optimal split of a growth of FLOPs, and the splits that tie with it.

    growth     factor of the FLOPs, above 1.
    base_top1  top-1 of the base in percent.
    model      "squares", "interactions" or "both", see `predicted_gain`.
    rng        generator of the draws for the intervals; None: seed 0.

    Raises ValueError for an invalid growth, base_top1 or model.
    """
    if not (is_number(growth) and 1 < growth <= LARGEST_FACTOR):
        raise ValueError(
            f"growth: {quoted(growth, 40)} is not allowed; use a number above 1, up to "
            f"{LARGEST_FACTOR:g}"
        )
    rng = rng or np.random.default_rng(0)
    places = simplex()
    factors = split_factors(places, growth)
    expected, std = predicted_gain(factors, base_top1=base_top1, model=model)
    best = int(expected.argmax())
    gains = drawn_gains(factors, base_top1=base_top1, model=model, rng=rng)
    optima = factors[gains.argmax(1)]
    worse = (gains[:, [best]] - gains > 0).mean(0)
    named = np.array(list(NAMED.values()))
    named /= named.sum(1, keepdims=True)
    reached, _ = predicted_gain(split_factors(named, growth), base_top1=base_top1, model=model)
    losses = {name: float(expected[best] - gain) for name, gain in zip(NAMED, reached, strict=True)}
    return Optimum(
        growth=growth,
        shares=places[best],
        coefficients=factors[best],
        intervals=np.quantile(optima, INTERVAL, axis=0).T,
        gain=float(expected[best]),
        std=float(std[best]),
        places=places,
        expected=expected,
        ties=expected >= expected[best] - TIE,
        undecided=worse < INTERVAL[1] - INTERVAL[0],
        losses=losses,
    )


def drawn_gains(
    factors: np.ndarray, *, base_top1: float, model: str, rng: np.random.Generator
) -> np.ndarray:
    """Return gains [draws, n] of new recipes drawn from the models, without training noise."""
    base = latent(checked_top1(base_top1))
    models = models_named(model)
    counts = [len(part) for part in np.array_split(np.arange(DRAWS), len(models))]
    changes = [
        drawn_slopes(each, count, rng) @ terms(np.log(factors), base, each.names).T
        for each, count in zip(models, counts, strict=True)
    ]
    return top1_of(base + np.concatenate(changes)) - top1_of(base)


def drawn_slopes(model: GrowthModel, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return slopes [count, p] of new recipes."""
    covariance = model.widened**2 * model.slopes()
    return rng.multivariate_normal(model.weights, covariance, size=count, method="cholesky")


def flatness(optimum: Optimum) -> Mapping[str, float]:
    """Return the flatness of the optimum: the shares of splits that tie, and that are undecided.

    "points for a tenth" is the mean expected loss from moving a tenth of the growth from one axis
    to another.
    """
    near = np.abs(optimum.places - optimum.shares).sum(1)
    moved = np.isclose(near, 0.2, atol=0.021)
    loss = float((optimum.expected.max() - optimum.expected[moved]).mean())
    return {
        "tied": float(optimum.ties.mean()),
        "undecided": float(optimum.undecided.mean()),
        "points for a tenth": loss,
    }
