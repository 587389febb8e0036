"""A Bayesian quadratic model of accuracy for any search space, refitted at every proposal.

A network is described by the vector u = [1, totals, contrasts]: the logarithms of its costs and
orthogonal contrasts of each decision. Every feature is a sum of products of two linear forms of
u. The weights of the features therefore combine to one small matrix W with accuracy = u' W u, and
one batched matrix product predicts thousands of networks under many posterior samples.

The features are grouped (`PRIOR`). Each group has one prior variance, which is learned from the
data by maximising the marginal likelihood ("MM algorithms for variance components models", Zhou,
Hu, Qiao, Cho and Zhou 2019). Decisions whose names differ only in their number ("block0_e",
"block1_e") share effects; this is why a few dozen evaluations suffice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from search_spaces.cost import Cost, Costs
from search_spaces.space import SearchSpace

# expected share of the variance of the standardised accuracy that each group explains
PRIOR: dict[str, float] = {
    "total": 1.0,  # logarithms of FLOPs, params, activations
    "sum": 0.5,  # a decision summed over the stages, such as total depth or total expansion
    "trend": 0.1,  # the same sum weighted by the stage's number: deeper early or late stages
    "slope": 0.5,  # one ordered decision of one stage
    "shape": 0.1,  # the curvature of an ordered decision, or an unordered decision
    "square": 0.5,  # squares and products of totals and sums: diminishing returns
    "stage": 0.1,  # pairs of decisions of one stage
    "stage_sum": 0.1,  # the same pair summed over the stages
    "kind": 0.05,  # pairs of decisions of the same kind in two stages
}
NOISE = 0.02  # expected share of noise
TRUST = 0.5  # weight of the expected shares, in observations; small, so that the data decide
UPDATES = 12  # the variances converge to a few percent in about ten updates
MAX_GROUP = 2_000  # larger groups are left out: they are slow and cannot be identified


@dataclass(frozen=True)
class Basis:
    """The features of one space, from `make_basis`.

    codes           float32 [contrasts, options], the value of each contrast for each option.
    owner           [contrasts], the genotype column of each contrast.
    fields          names of the costs used as totals.
    center, spread  [totals], mean and standard deviation of their logarithms.
    forms           [u, forms], linear forms of u.
    left, right     [terms], the two forms of each product.
    first           [features], the first product of each feature.
    scale           [features], constant factors.
    group           [features], index into `names`.
    names           names of the groups in use.
    """

    codes: np.ndarray
    owner: np.ndarray
    fields: tuple[str, ...]
    center: np.ndarray
    spread: np.ndarray
    forms: np.ndarray
    left: np.ndarray
    right: np.ndarray
    first: np.ndarray
    scale: np.ndarray
    group: np.ndarray
    names: tuple[str, ...]

    def describe(self, genotypes: np.ndarray, costs: Costs) -> np.ndarray:
        """Return the vectors u of genotypes [n, decisions], float32 [n, 1 + totals + contrasts]."""
        start = 1 + len(self.fields)
        described = np.empty((len(genotypes), start + len(self.owner)), np.float32)
        described[:, 0] = 1.0
        totals = (log_totals(costs, self.fields) - self.center) / self.spread
        described[:, 1:start] = np.nan_to_num(totals)  # an unknown total has no effect
        described[:, start:] = self.codes[np.arange(len(self.owner)), genotypes[:, self.owner]]
        return described

    def features(self, described: np.ndarray) -> np.ndarray:
        """Return the features, float64 [n, features], of vectors u [n, 1 + totals + contrasts]."""
        forms = described.astype(np.float64) @ self.forms
        products = forms[:, self.left] * forms[:, self.right]
        return np.add.reduceat(products, self.first, axis=1) * self.scale

    def collapse(self, weights: np.ndarray) -> np.ndarray:
        """Return weights [features, b] as matrices W, float32 [b, u, u]: accuracy = u' W u."""
        counts = np.diff(np.append(self.first, len(self.left)))
        terms = np.repeat(weights * self.scale[:, None], counts, axis=0).T
        owner = np.repeat(self.group, counts)
        products = np.zeros((weights.shape[1], self.forms.shape[1], self.forms.shape[1]))
        for index in range(len(self.names)):  # within a group no two terms share a product
            own = owner == index
            products[:, self.left[own], self.right[own]] += terms[:, own]
        return (self.forms @ products @ self.forms.T).astype(np.float32)


def make_basis(space: SearchSpace) -> Basis:
    """Return the features of a space, from the names and options of its decisions and its costs."""
    fields, center, spread = standardised_totals(space)
    start = 1 + len(fields)
    coded = [code for item in enumerate(space.choices.items()) for code in coded_decision(*item)]
    codes = np.zeros((len(coded), max(map(len, space.choices.values()))), np.float32)
    for row, contrast in enumerate(coded):
        codes[row, : len(contrast.code)] = contrast.code
    forms, terms = shared_terms(coded, start)
    terms |= single_terms(coded, start) | pair_terms(coded, start)
    groups = {name: group for name, group in terms.items() if 0 < len(group) <= MAX_GROUP}
    features = [products for group in groups.values() for products in group]
    sizes = [len(products) for products in features]
    members = np.repeat([len(group) for group in groups.values()], list(map(len, groups.values())))
    left, right = np.array(list(itertools.chain(*features)), np.int64).T
    return Basis(
        codes=codes,
        owner=np.array([contrast.column for contrast in coded], np.int64),
        fields=fields,
        center=center,
        spread=spread,
        forms=forms,
        left=left,
        right=right,
        first=np.cumsum([0, *sizes[:-1]]),
        scale=(members * sizes) ** -0.5,  # a variance of about 1 for groups of every size
        group=np.repeat(np.arange(len(groups)), list(map(len, groups.values()))),
        names=tuple(groups),
    )


class Contrast(NamedTuple):
    """One contrast of one decision.

    column  the decision's column in a genotype.
    rank    index among the contrasts of the decision.
    code    [options], mean 0 and variance 1.
    step    for the slope of an ordered decision, the standard deviation of the options' values
            (step * code is the value minus its mean); 0 for other contrasts.
    kind    equal for the same decision of other stages.
    stage   equal for the decisions of one stage.
    number  the stage's number.
    """

    column: int
    rank: int
    code: np.ndarray
    step: float
    kind: Hashable
    stage: str
    number: float


def coded_decision(column: int, decision: tuple[str, Sequence[Hashable]]) -> list[Contrast]:
    """Return the contrasts of one decision; an empty list for a single option.

    Ordered options (numbers, booleans) have a slope and a curvature in the option's value. Other
    options have an arbitrary orthogonal basis of their differences; the choice does not matter
    under an isotropic prior.
    """
    name, options = decision
    if len(options) < 2:
        return []
    step, kind_of_options = 0.0, tuple(options)
    if all(isinstance(option, (int, float)) for option in options):
        values = np.array(options, np.float64)
        step, kind_of_options = values.std(), ()  # slopes are summed even if the options differ
        powers = np.vander((values - values.mean()) / step, min(len(options), 3), increasing=True)
    else:
        powers = np.column_stack([np.ones(len(options)), np.eye(len(options))[:, 1:]])
    codes = np.linalg.qr(powers)[0][:, 1:] * np.sqrt(len(options))
    codes *= np.where((codes * powers[:, 1:]).sum(0) < 0, -1.0, 1.0)
    match = re.match(r"(\D*)(\d+)(.*)", name)
    before, number, behind = match.groups() if match else (name, "", "")
    stage = before + number if match else ""  # decisions without a number form one stage
    return [
        Contrast(
            column,
            rank,
            code,
            step if rank == 0 else 0.0,
            (before, behind, kind_of_options),
            stage,
            float(number or 0),
        )
        for rank, code in enumerate(codes.T)
    ]


def log_totals(costs: Costs, fields: Iterable[str]) -> np.ndarray:
    """Return the natural logarithms of costs, [n, fields]; NaN for costs that are not positive."""
    columns = [np.asarray(getattr(costs, field), np.float64) for field in fields]
    raw = np.array(columns).reshape(len(columns), len(costs)).T
    return np.log(np.where(raw > 0, raw, np.nan))


def standardised_totals(space: SearchSpace) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return names of the positive costs that vary over the space; mean and std of their logs."""
    costs = space.costs(space.sample(256, np.random.default_rng(0)))
    logs = log_totals(costs, Cost._fields)
    known = np.isfinite(logs).all(0)
    varied = known & (np.where(known, logs, 0.0).std(0) > 1e-3)
    fields = tuple(itertools.compress(Cost._fields, varied))
    return fields, logs[:, varied].mean(0), logs[:, varied].std(0)


Terms = dict[str, list[list[tuple[int, int]]]]  # group -> features -> products of two forms


def shared_terms(coded: list[Contrast], start: int) -> tuple[np.ndarray, Terms]:
    """Return linear forms [u, forms] and the terms that decisions of one kind share.

    The first forms are the entries of u, whose contrasts begin at `start`. They are followed, for
    each contrast of several stages, by its sum over the stages and, for slopes, its trend.
    """
    forms = list(np.eye(start + len(coded)))
    terms: Terms = {"sum": [], "trend": []}
    size: list[int] = list(range(1, start))  # forms that measure the size of a network
    for _, rows in grouped(coded, lambda contrast: (contrast.kind, contrast.rank)):
        weights = np.array([coded[row].step or 1.0 for row in rows])
        numbers = np.array([coded[row].number for row in rows])
        if len(rows) < 2 or np.ptp(numbers) == 0:
            continue
        terms["sum"].append([(0, len(forms))])
        if coded[rows[0]].step:
            size.append(len(forms))
            terms["trend"].append([(0, len(forms) + 1)])
        trend = weights * (numbers - numbers.mean())
        for values in (weights, trend) if coded[rows[0]].step else (weights,):
            form = np.zeros(start + len(coded))
            form[start + np.array(rows)] = values / np.linalg.norm(values)
            forms.append(form)
    terms["square"] = [[pair] for pair in itertools.combinations_with_replacement(size, 2)]
    return np.array(forms).T, terms


def single_terms(coded: list[Contrast], start: int) -> Terms:
    """Return the terms of single totals and single decisions."""
    slopes = [start + row for row, contrast in enumerate(coded) if contrast.step]
    shapes = [start + row for row, contrast in enumerate(coded) if not contrast.step]
    return {
        "total": [[(0, form)] for form in range(1, start)],
        "slope": [[(0, form)] for form in slopes],
        "shape": [[(0, form)] for form in shapes],
    }


def pair_terms(coded: list[Contrast], start: int) -> Terms:
    """Return the terms of pairs of decisions."""
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(len(coded)), 2)
        if coded[a].column != coded[b].column
    ]
    within = [(a, b) for a, b in pairs if coded[a].stage == coded[b].stage]
    alike = [(a, b) for a, b in pairs if coded[a].kind == coded[b].kind]
    slopes = [(a, b) for a, b in within if coded[a].step and coded[b].step]
    same = grouped(slopes, lambda pair: (coded[pair[0]].kind, coded[pair[1]].kind))
    return {
        "stage": [[(start + a, start + b)] for a, b in within],
        "stage_sum": [
            [(start + slopes[index][0], start + slopes[index][1]) for index in indices]
            for _, indices in same
            if len(indices) > 1
        ],
        "kind": [[(start + a, start + b)] for a, b in alike],
    }


def grouped(items: Sequence[Any], key: Callable[[Any], Hashable]) -> list[tuple[Any, list[int]]]:
    """Return the keys and the indices of their items, in order of first appearance."""
    found: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        found.setdefault(key(item), []).append(index)
    return list(found.items())


def posterior_weights(
    features: np.ndarray,
    targets: np.ndarray,
    deviation: np.ndarray,
    noise: float | np.ndarray,
    heat: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return weights [f, b]: the posterior mean plus `heat` times a random deviation.

    features   [n, f] of the observations.
    targets    [n] of the observations.
    deviation  [f], prior standard deviation of each weight.
    noise      variance of the targets, a number or [n].
    heat       [b], factors of the deviations; 1 gives exact posterior samples.

    The samples are prior draws with a correction (Matheron's rule; Wilson et al. 2021).
    """
    scaled = features * deviation
    prior = rng.standard_normal((scaled.shape[1], len(heat)))
    error = (
        rng.standard_normal((len(scaled), len(heat)))
        * np.sqrt(noise * np.ones(len(scaled)))[:, None]
    )
    covariance = scaled @ scaled.T
    covariance[np.diag_indices_from(covariance)] += noise
    solved = np.linalg.solve(covariance, targets[:, None] - heat * (scaled @ prior + error))
    return deviation[:, None] * (heat * prior + scaled.T @ solved)


def mean_weights(
    features: np.ndarray, targets: np.ndarray, deviation: np.ndarray, noise: float | np.ndarray
) -> np.ndarray:
    """Return the posterior mean of the weights, [f]; arguments as of `posterior_weights`."""
    scaled = features * deviation
    covariance = scaled @ scaled.T
    covariance[np.diag_indices_from(covariance)] += noise
    return deviation * (scaled.T @ np.linalg.solve(covariance, targets))


def fit_prior(
    basis: Basis, features: np.ndarray, targets: np.ndarray, *, extra: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Return the prior standard deviation of every weight [f] and the variance of the noise.

    The variances of the groups maximise the marginal likelihood of standardised targets [n] given
    features [n, f], with an inverse-gamma prior around `PRIOR` that weighs `TRUST` observations.

    extra  [n], known variance of each target in addition to the noise; None for none.
    """
    count = len(targets)
    parts = [features[:, basis.group == index] for index in range(len(basis.names))]
    kernels = np.stack([part @ part.T for part in parts] + [np.eye(count)])
    flat = kernels.reshape(len(kernels), -1)
    known = np.diag(np.zeros(count) if extra is None else extra)
    expected = np.array([PRIOR[name] for name in basis.names] + [NOISE])
    variances = expected.copy()
    for _ in range(UPDATES):
        inverse = np.linalg.inv((variances @ flat).reshape(count, count) + known)
        weighed = inverse @ targets
        trace = flat @ inverse.ravel()
        gain = variances**2 * ((kernels @ weighed) @ weighed) + TRUST * expected
        # the positive root of trace v^2 + TRUST v = gain, in a form that allows a trace of 0
        variances = 2 * gain / (TRUST + np.sqrt(TRUST**2 + 4 * trace * gain))
    return np.sqrt(variances[:-1])[basis.group], float(variances[-1])
