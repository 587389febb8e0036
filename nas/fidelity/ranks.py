"""Rank correlations of cheap trainings with the longest one, their intervals, and a rule.

Accuracies are arrays [networks, seeds]. Two trainings are compared only across different seeds, so
that they share the network but not its initial weights. The correlation of the longest training
with itself, across seeds, is the noise ceiling: the noise of seeds limits it, and no fidelity can
be expected to exceed it. Because a dozen networks are few, every correlation has an interval from a
bootstrap over networks (Efron 1979; percentiles).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.evaluators.base import Answer
from nas.evaluators.proxy import Fidelity
from nas.fidelity.config import FEWEST

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]

SHARE = 0.8  # least share of the noise ceiling for a fidelity that is worth using
DRAWS, CHUNK = 2000, 200  # bootstrap resamples, and how many are computed at once
LEVEL = 0.90  # level of the intervals

RULE = (
    f"a fidelity is worth using if its Kendall tau with the longest is at least {SHARE:g} of the "
    "noise ceiling (the tau of the longest with itself under another seed), and the "
    f"{LEVEL:.0%} intervals of both are above 0; the cheapest of these is recommended"
)


@dataclass(frozen=True)
class Estimate:
    """A correlation and its interval over the choice of networks; NaN if unknown."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """Rank correlation of accuracies after `epoch` epochs with the final ones of the longest.

    seconds  median time of a training until this epoch.
    """

    epoch: int
    seconds: float
    kendall: Estimate


@dataclass(frozen=True)
class Judged:
    """Result of a fidelity.

    networks  number of networks that were trained at this fidelity and at the longest.
    accuracy  percent [all networks, seeds]; NaN if a training failed.
    kendall   Kendall's tau-b with the longest.
    spearman  Spearman's rho with the longest.
    seconds   median time of a training, by `nas.fidelity.trainings.clock_of`.
    seed_sd   standard deviation between seeds, in points.
    spread    standard deviation between networks, in points.
    rungs     rank correlations after each epoch.
    worth     whether the fidelity is worth using; see `RULE`.
    """

    fidelity: Fidelity
    networks: int
    accuracy: np.ndarray
    kendall: Estimate
    spearman: Estimate
    seconds: float
    seed_sd: float
    spread: float
    rungs: tuple[Rung, ...]
    worth: bool = False


def kendall(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of two arrays [..., n], [...]; 0 if all values are equal."""
    signs = [np.sign(each[..., :, None] - each[..., None, :]) for each in (first, second)]
    pairs = [np.abs(sign).sum((-2, -1)) for sign in signs]
    agreeing = (signs[0] * signs[1]).sum((-2, -1))
    return agreeing / np.sqrt(np.maximum(pairs[0] * pairs[1], 1))


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rho of two arrays [..., n], [...]; 0 if all values are equal."""
    ranks = [_ranks(each) for each in (first, second)]
    apart = [each - each.mean(-1, keepdims=True) for each in ranks]
    squares = [(each**2).sum(-1) for each in apart]
    together = (apart[0] * apart[1]).sum(-1)
    return together / np.sqrt(np.where(squares[0] * squares[1] > 0, squares[0] * squares[1], 1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks [..., n]; equal values have the mean of their ranks."""
    mine, others = values[..., :, None], values[..., None, :]
    return (mine > others).sum(-1) + 0.5 * (mine == others).sum(-1)


def estimate(measure: Measure, first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the mean of a correlation over all pairs of different seeds, with its interval.

    measure        correlation: `kendall` or `spearman`.
    first, second  accuracies [networks, seeds], at least two seeds; networks with NaN are ignored.
    """
    known = np.isfinite(first).all(1) & np.isfinite(second).all(1)
    if known.sum() < FEWEST:
        return Estimate(math.nan, math.nan, math.nan)
    first, second = first[known], second[known]
    rng = np.random.default_rng(0)
    drawn: list[float] = []
    for _ in range(DRAWS // CHUNK):
        rows = rng.integers(0, len(first), (CHUNK, len(first)))
        drawn.extend(_mean_of_pairs(measure, first[rows], second[rows]))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(_mean_of_pairs(measure, first, second)), float(low), float(high))


def _mean_of_pairs(measure: Measure, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the mean over pairs of different seeds [...], for accuracies [..., n, seeds]."""
    seeds = first.shape[-1]
    return np.mean(
        [
            measure(first[..., a], second[..., b])
            for a in range(seeds)
            for b in range(seeds)
            if a != b
        ],
        axis=0,
    )


def judge(
    answers: Sequence[Sequence[Sequence[Answer]]], fidelities: Sequence[Fidelity]
) -> list[Judged]:
    """Return the result of each fidelity in the given order.

    answers  [fidelity][network][seed]; the last fidelity is the longest.
    """
    longest = _accuracy(answers[-1])
    found = [_compared(*each, longest) for each in zip(answers, fidelities, strict=True)]
    ceiling = found[-1].kendall
    return [Judged(**{**vars(each), "worth": _is_worth(each.kendall, ceiling)}) for each in found]


def _is_worth(tau: Estimate, ceiling: Estimate) -> bool:
    """Apply `RULE`; comparisons with NaN are false."""
    return tau.low > 0 and ceiling.low > 0 and tau.value >= SHARE * ceiling.value


def answer(judged: Sequence[Judged]) -> Judged | None:
    """Return the cheapest fidelity that is worth using; None if not even the longest is."""
    worth = [each for each in judged if each.worth]
    return min(worth, key=lambda each: each.seconds) if worth else None


def _compared(
    answers: Sequence[Sequence[Answer]], fidelity: Fidelity, longest: np.ndarray
) -> Judged:
    accuracy = _accuracy(answers)
    known = np.isfinite(accuracy).all(1)
    sound = accuracy[known]
    both = known & np.isfinite(longest).all(1)
    sds = (math.nan, math.nan)
    if len(sound) > 1:
        sds = math.sqrt(sound.var(1, ddof=1).mean()), float(sound.mean(1).std(ddof=1))
    return Judged(
        fidelity,
        int(both.sum()),
        accuracy,
        estimate(kendall, accuracy, longest),
        estimate(spearman, accuracy, longest),
        _median_seconds(answers, None),
        *sds,
        tuple(_rungs(answers, fidelity, longest)),
    )


def _rungs(
    answers: Sequence[Sequence[Answer]], fidelity: Fidelity, longest: np.ndarray
) -> list[Rung]:
    found = []
    for epoch in range(1, fidelity.epochs + 1):
        tau = estimate(kendall, _accuracy(answers, epoch), longest)
        found.append(Rung(epoch, _median_seconds(answers, epoch), tau))
    return found


def _accuracy(answers: Sequence[Sequence[Answer]], epoch: int | None = None) -> np.ndarray:
    """Return percent at the end or after an epoch, [networks, seeds]; NaN for failed trainings."""
    return np.array([[_at(each, epoch)[0] for each in row] for row in answers])


def _median_seconds(answers: Sequence[Sequence[Answer]], epoch: int | None) -> float:
    seconds = [_at(each, epoch)[1] for row in answers for each in row]
    sound = [each for each in seconds if math.isfinite(each)]
    return float(np.median(sound)) if sound else math.nan


def _at(answer: Answer, epoch: int | None) -> tuple[float, float]:
    """Return accuracy and seconds of an answer, at its end or after an epoch."""
    nothing = (math.nan, math.nan)
    if answer.error:
        return nothing
    if epoch is None:
        return answer.accuracy, answer.seconds
    points = [point for point in answer.curve if point.step == epoch]
    return (points[0].accuracy, points[0].seconds) if points else nothing
