"""A smooth surface of accuracy over the ways to spend one step of growth.

A candidate spends shares of its growth on depth, width and resolution, which sum to 1: a mixture
experiment (Scheffe 1958). The surface is Scheffe's quadratic, y = sum b_i s_i + sum b_ij s_i s_j,
with one more term for what a candidate costs more or less than was asked for. Its best place is
looked for where all shares are at least 0; how well it is known, by a bootstrap over candidates
and seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RIDGE = 0.05  # on the curvature, in units of the noise of a mean: keeps few points from swinging
DRAWS = 1000
STEP = 0.02  # of the shares where the best place is looked for
INTERVAL = (0.025, 0.975)
KNOWN = 0.5  # an interval of more than that share of all there is hides the optimum


@dataclass(frozen=True)
class Surface:
    """What was fitted, and where its best place is.

    shares    [3] of the best place, the mean over the bootstrap: where noise is large, one fit's
              maximum is a corner of the triangle. intervals [3, 2] that hold it with 95%.
    accuracy  of the surface there, percent; its standard error.
    noise     deviation between seeds of one candidate, points, NaN where each has one seed.
    weights   of `features`.
    f_ratio   variance between candidates over that of their means by seeds alone.
    """

    shares: np.ndarray
    intervals: np.ndarray
    accuracy: float
    error: float
    noise: float
    weights: np.ndarray
    f_ratio: float
    seeds: int

    @property
    def hidden(self) -> bool:
        """Whether noise hides the optimum."""
        return bool((np.diff(self.intervals, axis=1)[:, 0] > KNOWN).any())

    @property
    def more_seeds(self) -> int:
        """Further seeds for each candidate after which it would likely show; 0 if it does.

        Intervals shrink with the root of the number of seeds.
        """
        widest = float(np.diff(self.intervals, axis=1).max())
        if widest <= KNOWN:
            return 0
        return max(1, math.ceil(self.seeds * (widest / KNOWN) ** 2) - self.seeds)

    def predict(self, shares: np.ndarray) -> np.ndarray:
        """Accuracy [n] at shares [n, 3], at exactly the growth asked for."""
        return features(shares, np.zeros(len(shares))) @ self.weights


def features(shares: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """[n, 7] of shares [n, 3] and the logarithm of real growth over that asked for [n]."""
    depth, width, side = np.asarray(shares, np.float64).T
    columns = [depth, width, side, depth * width, depth * side, width * side, excess]
    return np.stack(columns, axis=1)


def fit(
    shares: np.ndarray, excess: np.ndarray, accuracies: Sequence[Sequence[float]],
    rng: np.random.Generator,
) -> Surface:  # fmt: skip
    """The surface through candidates' shares [n, 3], excess [n] and accuracies by seed.

    Raises ValueError where fewer than four candidates were trained.
    """
    if len(shares) < 4:
        raise ValueError(f"surface: {len(shares)} candidates are too few to fit; train 4 or more")
    means = np.array([float(np.mean(values)) for values in accuracies])
    counts = np.array([len(values) for values in accuracies])
    noise = pooled_deviation(accuracies)
    spread = float(means.std()) or 1e-9
    # where each has one seed, what the surface leaves over stands for the noise
    scale = noise if np.isfinite(noise) and noise > 0 else spread
    design = features(shares, excess)
    weights = _solved(design, means, counts, scale)
    places = simplex()
    draws = _bootstrap(design, means, counts, scale, rng)
    grid = features(places, np.zeros(len(places)))
    values = grid @ draws  # [places, draws]
    optima = places[values.argmax(0)]
    best, intervals = optima.mean(0), np.quantile(optima, INTERVAL, axis=0).T
    at_best = features(best[None], np.zeros(1)) @ draws
    between = float(means.var(ddof=1))
    return Surface(
        best, intervals, float((features(best[None], np.zeros(1)) @ weights)[0]),
        float(at_best.std()), noise, weights,
        between / (scale**2 / counts.mean()) if np.isfinite(noise) else math.nan,
        round(counts.mean()),
    )  # fmt: skip


def pooled_deviation(accuracies: Sequence[Sequence[float]]) -> float:
    """Deviation between seeds, pooled over candidates; NaN where none has two."""
    squares = sum(float(np.var(values) * len(values)) for values in accuracies)
    freedom = sum(len(values) - 1 for values in accuracies)
    return math.sqrt(squares / freedom) if freedom else math.nan


def simplex() -> np.ndarray:
    """Shares [m, 3] that sum to 1, in steps."""
    count = round(1 / STEP)
    rows = [(i, j, count - i - j) for i in range(count + 1) for j in range(count + 1 - i)]
    return np.array(rows, np.float64) / count


def _solved(design: np.ndarray, means: np.ndarray, counts: np.ndarray, scale: float) -> np.ndarray:
    """Weights [f] of least squares weighed by the seeds, with a ridge on all but the plane."""
    return _many(design[None], (means - means.mean())[None], counts[None], scale)[:, 0] + np.array(
        [means.mean()] * 3 + [0.0] * (design.shape[1] - 3)
    )


def _many(design: np.ndarray, means: np.ndarray, counts: np.ndarray, scale: float) -> np.ndarray:
    """Weights [f, k] of k weighed fits: design [k, n, f], means [k, n], counts [k, n]."""
    precision = counts / scale**2
    penalty = np.full(design.shape[2], RIDGE / scale**2)
    penalty[:3] = 1e-6 / scale**2
    left = np.einsum("knf,kn,kng->kfg", design, precision, design) + np.diag(penalty)
    right = np.einsum("knf,kn,kn->kf", design, precision, means)
    return np.linalg.solve(left, right[:, :, None])[:, :, 0].T


def _bootstrap(
    design: np.ndarray, means: np.ndarray, counts: np.ndarray, scale: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Weights [f, DRAWS] of fits to resampled candidates, their means moved by seed noise."""
    rows = rng.integers(0, len(means), (DRAWS, len(means)))
    moved = means[rows] + rng.normal(size=rows.shape) * scale / np.sqrt(counts[rows])
    center = means.mean()
    weights = _many(design[rows], moved - center, counts[rows], scale)
    weights[:3] += center
    return weights
