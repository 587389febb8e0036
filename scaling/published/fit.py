"""Fit of the regression over published trainings: a linear mixed model by marginal likelihood.

For group g (a base network and a recipe): latent = a_g + terms (beta + b_g) + noise. The constants
a_g are free, so that every group is relative to its own base; beta are the common slopes, and b_g
the deviations of the group's slopes from them. The variances of the slopes and of the noise
maximise the marginal likelihood (empirical Bayes, with a wide prior on their logarithms); beta is
integrated out. Needs numpy and scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scaling.published.model import CEILING, GrowthModel, latent, steepness, terms

FREE = 100.0  # prior variance of a group's constant, in latent units
PRIOR = 2.0  # prior standard deviation of a common slope, in latent units
TYPICAL = 0.04  # initial standard deviation of slopes and noise, and centre of their prior
WIDE = 2.0  # prior standard deviation of the logarithm of a standard deviation
BOUNDS = (-8.0, 1.0)  # bounds of the logarithm of a standard deviation
READ_OFF = 0.05  # error in points of accuracies that were read off figures
WIDTH_READ_OFF = 0.05  # error of the logarithm of a width that was inferred from a figure's FLOPs
WIDTH_SLOPE = 0.2  # effect of this error on the latent value


class Trainings(NamedTuple):
    """Published trainings, one in each row.

    group      index of base and recipe, int [n].
    first      whether a row is the base of its group, bool [n].
    logs       logarithms of real depth, width and resolution relative to the base, [n, 3].
    top1       top-1 in percent, [n].
    base_top1  top-1 of the group's base in percent, [n].
    digitised  whether the top-1 was read off a figure, bool [n].
    inferred   whether the width was inferred, bool [n].
    """

    group: np.ndarray
    first: np.ndarray
    logs: np.ndarray
    top1: np.ndarray
    base_top1: np.ndarray
    digitised: np.ndarray
    inferred: np.ndarray

    def rows(self, chosen: np.ndarray) -> Trainings:
        """Return the chosen trainings."""
        return Trainings(*(column[chosen] for column in self))

    def known_variance(self) -> np.ndarray:
        """Return the variance of the latent value from reading off figures, [n]."""
        read = (self.digitised * READ_OFF / steepness(np.minimum(self.top1, CEILING - 1))) ** 2
        return read + (self.inferred * WIDTH_READ_OFF * WIDTH_SLOPE) ** 2


@dataclass(frozen=True)
class Fitted:
    """A model, the logarithms of its standard deviations, and its log evidence."""

    model: GrowthModel
    deviations: np.ndarray
    evidence: float


class Group(NamedTuple):
    """Columns [k, p], latent values [k] and known variances [k] of one group."""

    columns: np.ndarray
    values: np.ndarray
    known: np.ndarray


def grouped(data: Trainings, names: tuple[str, ...]) -> list[Group]:
    """Return the trainings by group."""
    columns = terms(data.logs, latent(data.base_top1), names)
    values, known = latent(data.top1), data.known_variance()
    return [
        Group(columns[rows], values[rows], known[rows])
        for rows in (np.flatnonzero(data.group == index) for index in np.unique(data.group))
    ]


def fit_growth(
    data: Trainings, names: tuple[str, ...], *, start: np.ndarray | None = None
) -> Fitted:
    """Fit the regression with these terms.

    start  logarithms of standard deviations [p + 1] of an earlier fit; None: `TYPICAL`.
    """
    from scipy.optimize import minimize

    groups = grouped(data, names)
    if start is None:
        start = np.full(len(names) + 1, np.log(TYPICAL))
    found = minimize(
        lambda logs: objective(logs, groups),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[BOUNDS] * len(start),
    )
    weights, covariance, _ = _common(_whitened(found.x, groups))
    model = GrowthModel(
        names=names,
        weights=weights,
        covariance=covariance,
        spread=np.exp(2 * found.x[:-1]),
        noise=float(np.exp(2 * found.x[-1])),
        widened=1.0,
    )
    return Fitted(model, found.x, -float(found.fun))


class _White(NamedTuple):
    """A group multiplied by the inverse Cholesky factor of its covariance."""

    columns: np.ndarray
    values: np.ndarray
    inverse: np.ndarray


def _whitened(logs: np.ndarray, groups: list[Group]) -> list[_White]:
    spread, noise = np.exp(2 * logs[:-1]), np.exp(2 * logs[-1])
    white = []
    for columns, values, known in groups:
        covariance = (columns * spread) @ columns.T + FREE
        covariance[np.diag_indices(len(values))] += noise + known
        inverse = np.linalg.inv(np.linalg.cholesky(covariance))
        white.append(_White(inverse @ columns, inverse @ values, inverse))
    return white


def _common(white: list[_White]) -> tuple[np.ndarray, np.ndarray, float]:
    """Return mean and covariance of the common slopes, and the log evidence up to a constant."""
    size = white[0].columns.shape[1]
    precision, sums, evidence = np.eye(size) / PRIOR**2, np.zeros(size), 0.0
    for columns, values, inverse in white:
        precision = precision + columns.T @ columns
        sums += columns.T @ values
        evidence += -values @ values / 2 + float(np.log(np.diag(inverse)).sum())
    weights = np.linalg.solve(precision, sums)
    evidence += sums @ weights / 2 - np.linalg.slogdet(precision)[1] / 2
    return weights, np.linalg.inv(precision), float(evidence)


def objective(logs: np.ndarray, groups: list[Group]) -> tuple[float, np.ndarray]:
    """Return minus the log of evidence and prior, and its gradient.

    logs  logarithms of standard deviations [p + 1].
    """
    white = _whitened(logs, groups)
    weights, covariance, evidence = _common(white)
    slope = np.zeros(len(logs))
    for columns, values, inverse in white:
        left = values - columns @ weights
        gram = columns.T @ columns
        explained = np.einsum("ik,kl,li->i", gram, covariance, gram)
        slope[:-1] += (columns.T @ left) ** 2 - (np.diag(gram) - explained)
        weighted = inverse.T @ columns
        trace = (inverse**2).sum() - np.einsum("ik,kl,il->", weighted, covariance, weighted)
        slope[-1] += ((inverse.T @ left) ** 2).sum() - trace
    slope *= np.exp(2 * logs)
    away = (logs - np.log(TYPICAL)) / WIDE
    return float(away @ away / 2 - evidence), away / WIDE - slope
