"""Smooth surface of accuracy over the ways to spend one step of growth.

A candidate spends shares of its growth on depth, width and resolution, which sum to 1: a mixture
experiment (Scheffe 1958). The surface is Scheffe's quadratic, y = sum b_i s_i + sum b_ij s_i s_j,
with one more term for the difference between a candidate's cost and the growth. The optimum is
searched where all shares are at least 0. Its uncertainty is estimated by a parametric bootstrap:
the surface's predictions for the candidates are perturbed by the noise of seeds and the error of
the surface. If the optimum is on an edge of the triangle, its intervals extend only inwards and are
too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vbs.accuracy import paired_variance, pooled_deviation

# prior standard deviation of a curvature relative to that of the candidates' means; limits the
# effect of a few noisy points
CURVED = 8.0
DRAWS = 1000
STEP = 0.02  # step of the shares in the search for the optimum
INTERVAL = (0.025, 0.975)
WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)  # candidate weights of a prior
MISSED = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # candidate errors, relative to the means' deviation
SMOOTH = 0.3  # prior deviation of MISSED; large errors would make any prior plausible
KNOWN = 0.5  # width of intervals above which the optimum counts as hidden
TIMES = (2, 3, 4, 6, 8, 12, 16)  # factors of the number of seeds that are simulated


@dataclass(frozen=True)
class Prior:
    """A normal prior of the surface's first six weights, except for the height of the surface.

    weights    mean, [6], in points.
    precision  [6, 6]; it leaves the height free.
    weight     factor of the precision: 0 ignores the prior, 1 uses it unchanged; None: learned
               from the accuracies (the highest marginal likelihood).

    `scaling.published.surface_prior` creates one from published trainings.
    """

    weights: np.ndarray
    precision: np.ndarray
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ValueError(f"weight: {self.weight!r} is not allowed; use a number from 0 to 1")


@dataclass(frozen=True)
class Surface:
    """A fitted surface and its optimum.

    shares      shares of the optimum, [3].
    intervals   95% intervals of these shares, [3, 2].
    accuracy    accuracy of the surface at the optimum, in percent.
    error       standard error of this accuracy.
    noise       standard deviation between seeds of one candidate, in points; NaN if each has one
                seed. Candidates are weighted by it and by the images
                (`vbs.accuracy.paired_variance`).
    weights     weights of `features`.
    f_ratio     variance between candidates divided by the variance of their means from noise.
    more_seeds  additional seeds for each candidate after which the optimum would likely be clear;
                0: it is clear, None: more seeds would hardly help.
    prior_weight  weight of the prior, given or learned; 0: none.
    """

    shares: np.ndarray
    intervals: np.ndarray
    accuracy: float
    error: float
    noise: float
    weights: np.ndarray
    f_ratio: float
    more_seeds: int | None
    prior_weight: float = 0.0

    @property
    def hidden(self) -> bool:
        """Whether noise hides the optimum."""
        return self.more_seeds != 0

    def predict(self, shares: np.ndarray) -> np.ndarray:
        """Return accuracies [n] at shares [n, 3], for exactly the given growth."""
        return at_growth(shares) @ self.weights


def features(shares: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return features [n, 7] of shares [n, 3] and excess [n].

    excess  logarithm of the real growth divided by the given growth.
    """
    depth, width, side = np.asarray(shares, np.float64).T
    columns = [depth, width, side, depth * width, depth * side, width * side, excess]
    return np.stack(columns, axis=1)


def at_growth(shares: np.ndarray) -> np.ndarray:
    """Return the features of networks with exactly the given growth."""
    return features(shares, np.zeros(len(shares)))


def fit(
    shares: np.ndarray,
    excess: np.ndarray,
    accuracies: Sequence[Sequence[float]],
    rng: np.random.Generator,
    *,
    images: int = 0,
    prior: Prior | None = None,
) -> Surface:
    """Fit the surface through candidates' shares [n, 3], excess [n] and accuracies by seed.

    images  number of images of all accuracies; 0: unknown.
    prior   prior of the surface. With a prior, draws are from the posterior; without, from the
            bootstrap.

    Raises ValueError for fewer than four candidates, or fewer than two with a prior.
    """
    fewest = 4 if prior is None or prior.weight == 0 else 2
    if len(shares) < fewest:
        raise ValueError(
            f"surface: {len(shares)} candidates are too few to fit; train {fewest} or more"
        )
    means = np.array([float(np.mean(values)) for values in accuracies])
    counts = np.array([len(values) for values in accuracies], np.float64)
    fitting = _Fitting.of(
        features(shares, excess), means, counts, pooled_deviation(accuracies), images
    )
    if prior is not None:
        fitting = fitting.believing(prior)
    weights = fitting.weights(means[None])[:, 0]
    places = simplex()
    draws = fitting.draws(weights, 1, rng)
    values = at_growth(places) @ draws
    best = int(values.mean(1).argmax())
    between = float(means.var(ddof=1))
    return Surface(
        places[best],
        _intervals(places, values),
        float(values[best].mean()),
        float(values[best].std()),
        fitting.noise,
        weights,
        between / known if (known := float(fitting.known().mean())) > 0 else math.nan,
        _more_seeds(fitting, weights, places, rng),
        fitting.prior_weight,
    )


def simplex() -> np.ndarray:
    """Return a grid of shares [m, 3] that sum to 1."""
    count = round(1 / STEP)
    rows = [(i, j, count - i - j) for i in range(count + 1) for j in range(count + 1 - i)]
    return np.array(rows, np.float64) / count


def _intervals(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the intervals [3, 2] of the optima of draws [places, draws]."""
    return np.quantile(places[values.argmax(0)], INTERVAL, axis=0).T


def _more_seeds(
    fitting: _Fitting, weights: np.ndarray, places: np.ndarray, rng: np.random.Generator
) -> int | None:
    """Return `Surface.more_seeds`, by simulating more seeds until the intervals are narrow."""
    seeds = round(float(fitting.counts.mean()))
    for times in (1, *TIMES):
        values = at_growth(places) @ fitting.draws(weights, times, rng)
        if np.diff(_intervals(places, values), axis=1).max() <= KNOWN:
            return (times - 1) * seeds
    return None


@dataclass(frozen=True)
class _Fitting:
    """Least squares weighted by seeds and images, with a normal prior on the weights.

    design   features of the candidates, [n, 7].
    counts   number of seeds of each candidate, [n].
    means    mean accuracy of each candidate in percent, [n].
    images   number of images.
    center   mean of `means`.
    noise    standard deviation of a training; NaN if unknown.
    missed   standard deviation of candidates around the surface beyond the noise.
    penalty  precision of the weights around 0, [7]; nearly 0 for the three linear weights.
    prior_mean, prior_precision, prior_weight  mean [7], weighted precision [7, 7] and weight of the
             added `Prior`; without one, all are 0.
    """

    design: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    images: int
    center: float
    noise: float
    missed: float
    penalty: np.ndarray
    prior_mean: np.ndarray = field(default_factory=lambda: np.zeros(7))
    prior_precision: np.ndarray = field(default_factory=lambda: np.zeros((7, 7)))
    prior_weight: float = 0.0

    @classmethod
    def of(
        cls, design: np.ndarray, means: np.ndarray, counts: np.ndarray, noise: float, images: int
    ) -> _Fitting:
        """Fit with `missed` from the residuals of plain least squares, if there are enough."""
        spread = float(means.std()) or 1e-9
        penalty = np.full(design.shape[1], 1 / (CURVED * spread) ** 2)
        penalty[:3] *= 1e-4
        free = len(means) - design.shape[1]
        left = spread**2
        if free > 0:
            weights, *_ = np.linalg.lstsq(design, means, rcond=None)
            left = float(((means - design @ weights) ** 2).sum()) / free
        known = float(paired_variance(means, images, noise, trainings=counts).mean())
        missed = math.sqrt(max(left - known, (1e-3 * spread) ** 2))
        return cls(design, counts, means, images, float(means.mean()), noise, missed, penalty)

    def believing(self, prior: Prior) -> _Fitting:
        """Add a prior with its own weight, or with the weight that makes the means most likely.

        `missed` is fitted together with it, because few candidates leave no residuals.
        """
        if prior.weight == 0:
            return self
        mean, precision = np.zeros(7), np.zeros((7, 7))
        mean[:6], precision[:6, :6] = prior.weights, prior.precision
        spread = float(self.means.std()) or 1e-9
        tried = {
            (weight, share): replace(
                self,
                prior_mean=mean,
                prior_precision=weight * precision,
                prior_weight=weight,
                missed=spread * share,
            )
            for weight in (WEIGHTS if prior.weight is None else (prior.weight,))
            for share in MISSED
        }
        best = max(tried, key=lambda key: tried[key].evidence() - (key[1] / SMOOTH) ** 2 / 2)
        return tried[best]

    def evidence(self) -> float:
        """Return the log marginal likelihood of the means, up to a constant."""
        believed = np.diag(self.penalty) + self.prior_precision
        expected = np.linalg.solve(believed, self.prior_precision @ self.prior_mean)
        covariance = self.design @ np.linalg.solve(believed, self.design.T)
        covariance[np.diag_indices(len(self.means))] += self.variance()
        left = self.means - self.center - self.design @ expected
        return float(
            -(left @ np.linalg.solve(covariance, left) + np.linalg.slogdet(covariance)[1]) / 2
        )

    def known(self, times: float = 1.0) -> np.ndarray:
        """Return the variance of each candidate's mean from seeds and images, [n].

        times  factor of the number of seeds.
        """
        return paired_variance(self.means, self.images, self.noise, trainings=times * self.counts)

    def variance(self, times: float = 1.0) -> np.ndarray:
        """Return the variance of each candidate's mean around the surface, [n]."""
        return self.known(times) + self.missed**2

    def weights(self, means: np.ndarray, times: float = 1.0) -> np.ndarray:
        """Return the weights [f, k] of k fits to means [k, n]."""
        weighed = self.design / self.variance(times)[:, None]
        right = weighed.T @ (means - self.center).T
        right += (self.prior_precision @ self.prior_mean)[:, None]
        weights = np.linalg.solve(self.precision(times), right)
        weights[:3] += self.center  # the shares sum to 1
        return weights

    def precision(self, times: float = 1.0) -> np.ndarray:
        """Return the posterior precision of the weights, [7, 7]."""
        weighed = self.design / self.variance(times)[:, None]
        return weighed.T @ self.design + np.diag(self.penalty) + self.prior_precision

    def draws(self, weights: np.ndarray, times: float, rng: np.random.Generator) -> np.ndarray:
        """Return weights [f, DRAWS] of fits to perturbed predictions for the candidates.

        With a prior, the weights are drawn from the posterior instead, because each fit to
        perturbed predictions would use the prior again.
        """
        if self.prior_weight > 0:
            root = np.linalg.cholesky(np.linalg.inv(self.precision(times)))
            return weights[:, None] + root @ rng.normal(size=(len(weights), DRAWS))
        deviation = np.sqrt(self.variance(times))
        moved = self.design @ weights + rng.normal(size=(DRAWS, len(deviation))) * deviation
        return self.weights(moved, times)
