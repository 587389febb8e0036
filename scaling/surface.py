"""A smooth surface of accuracy over the ways to spend one step of growth.

A candidate spends shares of its growth on depth, width and resolution, which sum to 1: a mixture
experiment (Scheffe 1958). The surface is Scheffe's quadratic, y = sum b_i s_i + sum b_ij s_i s_j,
with one more term for what a candidate costs above or below the growth. Its best place is
looked for where all shares are at least 0; how well it is known, by a parametric bootstrap: what
the surface predicts for each candidate, moved by the noise of its seeds and by the surface's error.
Where the best place is on the rim of the triangle an interval can only reach inwards, and is too
narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vbs.accuracy import paired_variance, pooled_deviation

CURVED = 8.0  # prior deviation of a curvature, in deviations of the candidates' means: a few points
# with much noise could otherwise swing it anywhere
DRAWS = 1000
STEP = 0.02  # of the shares where the best place is looked for
INTERVAL = (0.025, 0.975)
WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)  # of a prior, that are tried
MISSED = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # of the candidates' deviation, tried with them
SMOOTH = 0.3  # prior deviation of these: a surface that misses all would leave any prior standing
KNOWN = 0.5  # an interval of more than that share of all there is hides the optimum
TIMES = (2, 3, 4, 6, 8, 12, 16)  # as many seeds that are tried in thought


@dataclass(frozen=True)
class Prior:
    """A normal prior of the surface's first six weights, known but for the surface's height.

    weights    [6], in points; precision [6, 6], which leaves the height free.
    weight     that the precision is multiplied by: 0 ignores the prior, 1 believes it as it is, and
               None has it learned from the accuracies (the highest marginal likelihood).

    `scaling.published.surface_prior` makes one of published trainings.
    """

    weights: np.ndarray
    precision: np.ndarray
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ValueError(f"weight: {self.weight!r} is not allowed; use a number from 0 to 1")


@dataclass(frozen=True)
class Surface:
    """What was fitted, and where its best place is.

    shares      [3] of the best place; intervals [3, 2] that hold it with 95%.
    accuracy    of the surface there, percent; error: its standard error.
    noise       deviation between seeds of one candidate, points, NaN where each has one seed.
                Candidates are weighed by it and by the images (`vbs.accuracy.paired_variance`).
    weights     of `features`.
    f_ratio     variance between candidates over that of their means by noise alone.
    more_seeds  further seeds for each candidate after which the optimum would likely show; 0 if it
                does, None where many would not help.
    prior_weight  of the prior, given or learned; 0 where there is none.
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
        """Accuracy [n] at shares [n, 3], at exactly the given growth."""
        return at_growth(shares) @ self.weights


def features(shares: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """[n, 7] of shares [n, 3] and the logarithm of real growth over the given one [n]."""
    depth, width, side = np.asarray(shares, np.float64).T
    columns = [depth, width, side, depth * width, depth * side, width * side, excess]
    return np.stack(columns, axis=1)


def at_growth(shares: np.ndarray) -> np.ndarray:
    """Features of networks that have exactly the given growth."""
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
    """The surface through candidates' shares [n, 3], excess [n] and accuracies by seed.

    images  that all accuracies were read on; 0: unknown.
    prior   of the surface. With it the draws are those of the posterior, and without it of the
            bootstrap.

    Raises ValueError where fewer than four candidates were trained, or two with a prior.
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
    """Shares [m, 3] that sum to 1, in steps."""
    count = round(1 / STEP)
    rows = [(i, j, count - i - j) for i in range(count + 1) for j in range(count + 1 - i)]
    return np.array(rows, np.float64) / count


def _intervals(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where the optima of draws [places, draws] lie, [3, 2]."""
    return np.quantile(places[values.argmax(0)], INTERVAL, axis=0).T


def _more_seeds(
    fitting: _Fitting, weights: np.ndarray, places: np.ndarray, rng: np.random.Generator
) -> int | None:
    """See `Surface`: the bootstrap with more seeds, until its intervals are narrow enough."""
    seeds = round(float(fitting.counts.mean()))
    for times in (1, *TIMES):
        values = at_growth(places) @ fitting.draws(weights, times, rng)
        if np.diff(_intervals(places, values), axis=1).max() <= KNOWN:
            return (times - 1) * seeds
    return None


@dataclass(frozen=True)
class _Fitting:
    """Least squares weighed by seeds and images, with a prior on all but the plane.

    design [n, 7], counts of seeds [n], means [n] in percent, read on so many images.
    noise: deviation of a training, NaN where unknown.
    missed: deviation of candidates from the surface that the noise does not explain.
    penalty [7] and prior_precision [7, 7]: of the weights, the latter around prior_mean [7], which
    it holds for but for the height.
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
        """With what the plain least squares leave over, where there are candidates enough."""
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
        """With a prior of its own weight, or of the one that makes the means most likely.

        What the surface misses is then fitted with it: few candidates leave nothing over.
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
        """Log marginal likelihood of the means, but for a constant."""
        believed = np.diag(self.penalty) + self.prior_precision
        expected = np.linalg.solve(believed, self.prior_precision @ self.prior_mean)
        covariance = self.design @ np.linalg.solve(believed, self.design.T)
        covariance[np.diag_indices(len(self.means))] += self.variance()
        left = self.means - self.center - self.design @ expected
        return float(
            -(left @ np.linalg.solve(covariance, left) + np.linalg.slogdet(covariance)[1]) / 2
        )

    def known(self, times: float = 1.0) -> np.ndarray:
        """Variance of each candidate's mean that seeds and images explain, with `times` as many
        seeds, [n]."""
        return paired_variance(self.means, self.images, self.noise, trainings=times * self.counts)

    def variance(self, times: float = 1.0) -> np.ndarray:
        """Of each candidate's mean around the surface, with `times` as many seeds, [n]."""
        return self.known(times) + self.missed**2

    def weights(self, means: np.ndarray, times: float = 1.0) -> np.ndarray:
        """Weights [f, k] of k fits to means [k, n]."""
        weighed = self.design / self.variance(times)[:, None]
        right = weighed.T @ (means - self.center).T
        right += (self.prior_precision @ self.prior_mean)[:, None]
        weights = np.linalg.solve(self.precision(times), right)
        weights[:3] += self.center  # the shares sum to 1
        return weights

    def precision(self, times: float = 1.0) -> np.ndarray:
        """Of the weights after training, [7, 7]."""
        weighed = self.design / self.variance(times)[:, None]
        return weighed.T @ self.design + np.diag(self.penalty) + self.prior_precision

    def draws(self, weights: np.ndarray, times: float, rng: np.random.Generator) -> np.ndarray:
        """Weights [f, DRAWS] of fits to what the surface predicts for the candidates, moved.

        With a prior they are draws of the posterior: each fit to moved candidates would lean on
        the prior again.
        """
        if self.prior_weight > 0:
            root = np.linalg.cholesky(np.linalg.inv(self.precision(times)))
            return weights[:, None] + root @ rng.normal(size=(len(weights), DRAWS))
        deviation = np.sqrt(self.variance(times))
        moved = self.design @ weights + rng.normal(size=(DRAWS, len(deviation))) * deviation
        return self.weights(moved, times)
