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

CURVED = 8.0  # prior deviation of a curvature, in deviations of the candidates' means: a few points
# with much noise could otherwise swing it anywhere
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
    design = features(shares, excess)
    scale = noise if noise > 0 else _left_over(design, means, spread)
    fitting = _Fitting(means.mean(), scale, np.full(design.shape[1], 1 / (CURVED * spread) ** 2))
    weights = fitting.weights(design[None], means[None], counts[None])[:, 0]
    places = simplex()
    rows = rng.integers(0, len(means), (DRAWS, len(means)))
    moved = means[rows] + rng.normal(size=rows.shape) * scale / np.sqrt(counts[rows])
    draws = fitting.weights(design[rows], moved, counts[rows])
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


def _left_over(design: np.ndarray, means: np.ndarray, spread: float) -> float:
    """Where each candidate has one seed, what the surface leaves over stands for the noise."""
    free = len(means) - design.shape[1]
    if free < 1:
        return spread
    weights, *_ = np.linalg.lstsq(design, means, rcond=None)
    left = means - design @ weights
    return max(math.sqrt(float(left @ left) / free), 1e-3 * spread)


@dataclass(frozen=True)
class _Fitting:
    """Least squares weighed by the seeds, with a prior on all but the plane.

    center  that accuracies are counted from. scale: deviation of a training. penalty [f].
    """

    center: float
    scale: float
    penalty: np.ndarray

    def weights(self, design: np.ndarray, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Weights [f, k] of k fits: design [k, n, f], means [k, n], counts of seeds [k, n]."""
        precision = counts / self.scale**2
        penalty = self.penalty.copy()
        penalty[:3] *= 1e-4
        left = np.einsum("knf,kn,kng->kfg", design, precision, design) + np.diag(penalty)
        right = np.einsum("knf,kn,kn->kf", design, precision, means - self.center)
        weights = np.linalg.solve(left, right[:, :, None])[:, :, 0].T
        weights[:3] += self.center  # the shares sum to 1
        return weights
