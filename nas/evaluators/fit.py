"""Fit of the surrogate: Bayesian regression on stage pairs and total costs.

The model is linear in the features of `SurrogateBasis` after a warp of the accuracy. Each group of
similar features has its own prior variance. These variances and the noise maximise the evidence
(MacKay 1992, "Bayesian interpolation", fixed-point form). Apart from the totals, each feature
depends on at most two stages, so that `tabulate` converts a fitted model to a set of small tables.
This module needs only numpy; `nas.evaluators.surrogate` reads the result.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nas.evaluators.stage_tables import MONOMIALS, Tables, monomials, stage_columns
from search_spaces.space import SearchSpace

ITERATIONS = 5  # fixed-point steps of each of two fits; more do not change the third digit
PRIOR_VARIANCE = 5e-4  # initial value, in squared latent units for features of sd ~1
NOISE_VARIANCE = 0.05  # initial value
STUDENT_DEGREES = 5.0  # degrees of freedom; the kurtosis of the residuals is about 6
# The model is not exact, so that its variance is too small for networks far from the data. With
# these two factors, 68% intervals cover nearly 68% of held-out folds at every distance; with
# factors of 1, they cover 80% nearby and 65% at eight or nine differing decisions.
WIDENED = 3.0
NOISE_KEPT = 0.8
MEDIAN_SQUARE = 0.4549  # median of the square of a standard normal variable
WARP_SCALE = 10.0  # latent units, so that the sd of ImageNet accuracies is about 1


def warp(accuracy: np.ndarray, ceiling: float) -> np.ndarray:
    """Return the latent value of an accuracy, in which effects are more nearly additive.

    An effect on the latent value is a relative change of the distance to the ceiling.

    accuracy  percent, [n].
    ceiling   percent that no network of the space reaches under the schedule.
    """
    return -WARP_SCALE * np.log1p(-accuracy / ceiling)


class SurrogateBasis:
    """Features of the genotypes of a space whose decisions are `block{i}_{e,k,l,se}`.

    They are single decisions and products of two, whole stages, sums over the early and over the
    late stages with their products, polynomials in the logs of FLOPs, params, activations and
    depth, and these logs times single decisions. Centres and scales are computed on 20,000
    genotypes with a fixed seed.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.stages = stage_columns(space.choices)
        options = [np.array(values, np.float64) for values in space.choices.values()]
        self._options = options
        self._contrasts = [_contrasts(len(values)) for values in options]
        self._owner = np.repeat(np.arange(len(options)), [len(values) - 1 for values in options])
        sample = space.sample(20_000, np.random.default_rng(99))
        logs, sums = np.log(self.totals(sample)), self._raw_sums(sample)
        self.log_center, self.log_scale = logs.mean(0), logs.std(0)
        self._sum_center, self._sum_scale = sums.mean(0), sums.std(0)

    def totals(self, genotypes: np.ndarray) -> np.ndarray:
        """Return FLOPs, params, activations and layers, float64 [n, 4]."""
        costs = self.space.costs(genotypes)
        depth = sum(self._values(genotypes, "l").T)
        return np.stack([costs.flops, costs.params, costs.activations, depth], 1).astype(np.float64)

    def features(self, genotypes: np.ndarray) -> np.ndarray:
        """Return all features, float64 [n, p].

        The order is: `pairwise`, polynomials in the logs of the totals, and gates (these logs times
        single decisions).
        """
        mains = self.mains(genotypes)
        logs = (np.log(self.totals(genotypes)) - self.log_center) / self.log_scale
        gates = [mains * column[:, None] for column in logs.T]
        return np.concatenate([self.pairwise(genotypes), monomials(logs), *gates], axis=1)

    def pairwise(self, genotypes: np.ndarray) -> np.ndarray:
        """Return the features of at most two stages each, float64 [n, pairwise_count]."""
        mains = self.mains(genotypes)
        sums = (self._raw_sums(genotypes) - self._sum_center) / self._sum_scale
        left, right = self._pairs
        low, high = np.triu_indices(sums.shape[1])
        whole = [mains[:, list(members)].prod(1)[:, None] for members in self._in_stage]
        return np.concatenate(
            [
                mains,
                mains[:, left] * mains[:, right],
                *whole,
                sums,
                sums[:, low] * sums[:, high],
                (sums[:, :, None] * mains[:, None]).reshape(len(mains), -1),
            ],
            axis=1,
        )

    @cached_property
    def groups(self) -> np.ndarray:
        """Index of the group of each feature, int [p]; the features of a group share a prior."""
        index = {label: i for i, label in enumerate(dict.fromkeys(self.labels))}
        return np.array([index[label] for label in self.labels])

    @cached_property
    def labels(self) -> list[tuple]:
        """Name of the group of each feature, such as ("pair", 1, 0, 0)."""
        stage, kind = self._stage_and_kind
        left, right = self._pairs
        apart = np.minimum(np.abs(stage[left] - stage[right]), 2)
        kinds = np.sort(np.stack([kind[left], kind[right]]), axis=0)
        sums = len(self._sum_center)
        labels: list[tuple] = [("main", k) for k in kind]
        labels += [("pair", *row) for row in zip(apart, *kinds, strict=True)]
        labels += [("stage", len(members)) for members in self._in_stage]
        labels += [("sum",)] * sums + [("sum2",)] * (sums * (sums + 1) // 2)
        labels += [("sum x main", i, k) for i in range(sums) for k in kind]
        labels += [("total", sum(powers)) for powers in MONOMIALS]
        return labels + [("gate", i, k) for i in range(4) for k in kind]

    @cached_property
    def _stage_and_kind(self) -> tuple[np.ndarray, np.ndarray]:
        """Stage of each main feature, and the index of its decision in e, k, l, se."""
        return self._owner // 4, self._owner % 4

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        left, right = np.triu_indices(len(self._owner), 1)
        different = self._owner[left] != self._owner[right]
        return left[different], right[different]

    @cached_property
    def _in_stage(self) -> list[tuple[int, ...]]:
        """Main features of three or four different decisions of one stage."""
        stage, _ = self._stage_and_kind
        return [
            members
            for index in range(len(self.stages))
            for size in (3, 4)
            for members in itertools.combinations(np.flatnonzero(stage == index).tolist(), size)
            if len({self._owner[member] for member in members}) == size
        ]

    def mains(self, genotypes: np.ndarray) -> np.ndarray:
        blocks = [c[genotypes[:, j]] for j, c in enumerate(self._contrasts)]
        return np.concatenate(blocks, axis=1)

    def _values(self, genotypes: np.ndarray, letter: str) -> np.ndarray:
        """Return the chosen e, k, l or se (0 or 1) of every stage, float64 [n, stages]."""
        columns = [j for j, name in enumerate(self.space.choices) if name.endswith(f"_{letter}")]
        return np.stack([self._options[j][genotypes[:, j]] for j in columns], axis=1)

    def _raw_sums(self, genotypes: np.ndarray) -> np.ndarray:
        """Return sums of terms over the first three and over the later stages, [n, 16]."""
        e, k, layers, se = (self._values(genotypes, letter) for letter in ("e", "k", "l", "se"))
        terms = [
            e == 1,
            np.log(e),
            (k - 1) * layers,
            layers * se,
            layers * (e == 1),
            layers,
            (e == 1) * se,
            (e > 1) * (layers - 1),
        ]
        early, late = slice(0, 3), slice(3, None)
        parts = [term[:, stages].sum(1) for stages in (early, late) for term in terms]
        return np.stack(parts, axis=1).astype(np.float64)


def _contrasts(options: int) -> np.ndarray:
    """Return an orthogonal polynomial coding, [options, options - 1], of mean 0 and variance 1."""
    basis, _ = np.linalg.qr(np.vander(np.arange(options, dtype=np.float64), increasing=True))
    return basis[:, 1:] * np.sqrt(options)


@dataclass(frozen=True)
class Posterior:
    """A fitted model.

    offset      mean of the latent values.
    weights     weights of the features, [p].
    covariance  covariance of the weights, [p, p].
    noise       variance of the noise.
    evidence    log marginal likelihood.
    """

    offset: float
    weights: np.ndarray
    covariance: np.ndarray
    noise: float
    evidence: float

    def mean(self, features: np.ndarray) -> np.ndarray:
        """Return the latent mean, [n]."""
        return self.offset + features @ self.weights

    def variance(self, features: np.ndarray) -> np.ndarray:
        """Return the variance of the latent mean without noise, [n]."""
        return np.einsum("np,np->n", features @ self.covariance, features)


def fit(features: np.ndarray, latent: np.ndarray, groups: np.ndarray) -> Posterior:
    """Return the posterior of the weights under group priors that maximise the evidence.

    Measurements have outliers (two measurements of one network differ by 1.3 points), so that
    networks with large residuals in a first fit have less weight in the second, according to a
    Student t. The noise is that of all networks, so that intervals also cover outliers. `WIDENED`
    and `NOISE_KEPT` then calibrate both variances.

    features [n, p], latent [n], groups int [p].
    """
    offset = latent.mean()
    prior = np.full(groups.max() + 1, PRIOR_VARIANCE)
    first, prior = _maximise(features, latent - offset, groups, prior)
    missed = _standardised(first, features, latent - offset)
    spread = np.median(missed) / MEDIAN_SQUARE
    trust = (STUDENT_DEGREES + 1) / (STUDENT_DEGREES + missed / spread)
    root = np.sqrt(trust / trust.mean())
    second, _ = _maximise(features * root[:, None], (latent - offset) * root, groups, prior)
    noise = float(_standardised(second, features, latent - offset).mean())
    return replace(
        second,
        offset=float(offset),
        noise=NOISE_KEPT * noise,
        covariance=WIDENED * second.covariance,
    )


def _standardised(posterior: Posterior, features: np.ndarray, centred: np.ndarray) -> np.ndarray:
    """Return squared residuals [n] of networks in the fit, corrected for their leverage."""
    leverage = posterior.variance(features) / posterior.noise
    return (centred - posterior.mean(features)) ** 2 / np.clip(1 - leverage, 0.3, 1.0)


def _maximise(
    features: np.ndarray, centred: np.ndarray, groups: np.ndarray, prior: np.ndarray
) -> tuple[Posterior, np.ndarray]:
    """Return the posterior after `ITERATIONS` steps from group variances, and the last ones."""
    gram, projection, total = features.T @ features, features.T @ centred, centred @ centred
    noise = NOISE_VARIANCE
    for _ in range(ITERATIONS):
        root, weights, _ = _solve(gram, projection, prior[groups], noise)
        # effective number of parameters of each group: how much the data narrow its prior
        freedom = 1 - np.einsum("ij,ij->j", root, root)
        effective = np.bincount(groups, freedom, len(prior))
        squares = np.bincount(groups, weights**2, len(prior))
        prior = np.maximum(squares / np.maximum(effective, 1e-9), 1e-9)
        residual = total - 2 * weights @ projection + weights @ gram @ weights
        noise = residual / (len(centred) - effective.sum())
    root, weights, determinant = _solve(gram, projection, prior[groups], noise)
    misfit = (total - weights @ projection) / noise
    volume = determinant + len(centred) * np.log(2 * np.pi * noise)
    root *= np.sqrt(prior[groups])
    evidence = float(-0.5 * (volume + misfit))
    return Posterior(0.0, weights, root.T @ root, float(noise), evidence), prior


def _solve(
    gram: np.ndarray, projection: np.ndarray, prior: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return R with R'R the covariance in units of the prior, weights, and log |precision|."""
    scale = np.sqrt(prior)
    precision = gram * (scale[:, None] * scale / noise)
    precision[np.diag_indices_from(precision)] += 1.0
    lower = np.linalg.cholesky(precision)
    root = _inverse_of_lower(lower)
    weights = scale * (root.T @ (root @ (scale * projection / noise)))
    return root, weights, 2 * np.log(np.diag(lower)).sum()


def _inverse_of_lower(lower: np.ndarray) -> np.ndarray:
    """Return the inverse of a lower triangular matrix, by halves, with multithreaded products."""
    half = len(lower) // 2
    if half < 32:
        return np.linalg.inv(lower)
    out = np.zeros_like(lower)
    out[:half, :half] = _inverse_of_lower(lower[:half, :half])
    out[half:, half:] = _inverse_of_lower(lower[half:, half:])
    out[half:, :half] = -out[half:, half:] @ (lower[half:, :half] @ out[:half, :half])
    return out


def tabulate(
    basis: SurrogateBasis, posterior: Posterior, ceiling: float, *, rng: np.random.Generator
) -> Tables:
    """Return the posterior as tables: exact mean, and least-squares fit of the log variance.

    The variance is fitted on 12,000 random genotypes and on 12,000 of a search for accuracy, where
    searches use it.
    """
    mean = _outputs(basis, posterior.offset, posterior.weights)
    drawn = basis.space.sample(12_000, rng)
    flat = _outputs(basis, np.log(1e-4), np.zeros_like(posterior.weights))
    found = _climb(basis.space, _join(basis, mean, flat, posterior, ceiling), 12_000, rng)
    genotypes = np.concatenate([drawn, found])
    features = basis.features(genotypes)
    variance = np.log(np.maximum(posterior.variance(features), 1e-6))
    offset = variance.mean()
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += 1e-2 * len(genotypes)  # the features are not independent
    weights = np.linalg.solve(gram, features.T @ (variance - offset))
    return _join(basis, mean, _outputs(basis, offset, weights), posterior, ceiling)


def _climb(space: SearchSpace, tables: Tables, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return genotypes of a search for accurate networks of every size, [count, decisions].

    They come from all generations of the search.
    """
    population, seen = space.sample(2_000, rng), []
    for _ in range(24):
        both = np.concatenate([population, space.mutate(space.mutate(population, rng), rng)])
        size = np.log(space.costs(both).flops)
        ranks = np.argsort(np.argsort(tables.latent(both)[0] - size * rng.choice([0.0, 2.0, 4.0])))
        population = both[ranks >= len(ranks) - 2_000]
        seen.append(population[rng.permutation(2_000)[: count // 24]])
    return np.concatenate(seen)


def _outputs(basis: SurrogateBasis, offset: float, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return pair tables, gate tables and polynomial.

    The shapes are [pairs, width, width], [stages, width, 4] and [1 + m].
    """
    mains, width = len(basis._owner), max(len(grid) for _, grid in _stage_grids(basis))
    split = len(weights) - 4 * mains
    gates = weights[split:].reshape(4, mains)
    pairwise, polynomial = np.split(weights[:split], [split - len(MONOMIALS)])
    origin = np.zeros((1, len(basis.space.choices)), np.int8)

    def value(genotypes: np.ndarray) -> np.ndarray:
        return basis.pairwise(genotypes) @ pairwise

    start, start_gates = value(origin)[0], gates @ basis.mains(origin)[0]
    grids = _stage_grids(basis)
    alone = [value(grid) - start for _, grid in grids]
    gate_tables = np.zeros((len(grids), width, 4))
    for index, (_, grid) in enumerate(grids):
        gate_tables[index, : len(grid)] = basis.mains(grid) @ gates.T - start_gates
    gate_tables[0] += start_gates
    tables = []
    for first, second in itertools.combinations(range(len(grids)), 2):
        (_, left), (others, right) = grids[first], grids[second]
        both = np.repeat(left, len(right), axis=0)
        both[:, others] = np.tile(right, (len(left), 1))[:, others]
        table = np.zeros((width, width))
        joint = (value(both) - start).reshape(len(left), len(right))
        table[: len(left), : len(right)] = joint - alone[first][:, None] - alone[second]
        # the effect of a single stage goes into the tables of stages 0-1, 0-2, ...
        if first == 0:
            table[: len(left), : len(right)] += alone[second]
            if second == 1:
                table[: len(left), : len(right)] += alone[0][:, None]
        tables.append(table)
    return np.stack(tables), gate_tables, np.concatenate([[offset + start], polynomial])


def _stage_grids(basis: SurrogateBasis) -> list[tuple[list[int], np.ndarray]]:
    """Return, for each stage, its columns and all combinations, the other stages at option 0."""
    grids = []
    for columns in basis.stages:
        counts = [len(basis._options[column]) for column in columns]
        grid = np.zeros((int(np.prod(counts)), len(basis._options)), np.int8)
        grid[:, columns] = list(itertools.product(*map(range, counts)))
        grids.append((columns, grid))
    return grids


def _join(
    basis: SurrogateBasis,
    mean: tuple[np.ndarray, ...],
    variance: tuple[np.ndarray, ...],
    posterior: Posterior,
    ceiling: float,
) -> Tables:
    """Return tables of both outputs, with the cost tables of the totals."""
    grids = _stage_grids(basis)
    origin = basis.totals(np.zeros((1, len(basis.space.choices)), np.int8))[0]
    width = mean[0].shape[1]
    totals = np.zeros((len(grids), width, 4))
    for index, (_, grid) in enumerate(grids):
        totals[index, : len(grid)] = basis.totals(grid) - origin
    totals[0] += origin
    return Tables(
        choices=basis.space.choices,
        totals=totals,
        log_center=basis.log_center,
        log_scale=basis.log_scale,
        pairs=np.stack([mean[0], variance[0]], axis=-1).astype(np.float32),
        gates=np.stack([mean[1], variance[1]], axis=-1),
        polynomial=np.stack([mean[2], variance[2]], axis=-1),
        noise=posterior.noise,
        ceiling=ceiling,
        scale=WARP_SCALE,
    )
