"""How well does a cheap training rank networks? Rank correlations, their noise, and a rule.

Accuracies come as [networks, seeds]. Two trainings are compared across different seeds only, so
that what they share is the network, not its first weights: the longest training compared with
itself is then the floor that the noise of a seed sets, and no fidelity can be expected to do
better. A dozen networks are few: every correlation comes with the interval that a bootstrap
over networks gives (Efron 1979; percentiles).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.evaluators.base import Answer
from nas.evaluators.proxy import Fidelity

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]

FEWEST = 4  # networks with which a rank correlation is worth its name
SHARE = 0.8  # of the seed floor that a fidelity must reach
DRAWS, CHUNK = 2000, 200  # bootstrap resamples, and how many are worked on at once
LEVEL = 0.90  # of the intervals

RULE = (
    f"worth using is a fidelity whose Kendall tau with the longest is at least {SHARE:g} of the "
    "seed floor (the tau of the longest with itself under another seed), where both are above 0 "
    f"by their {LEVEL:.0%} intervals; the cheapest of these is the answer"
)


@dataclass(frozen=True)
class Estimate:
    """A correlation, and the interval that the choice of networks leaves it; NaN where unknown."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """How the longest training's end is ranked after `epoch` epochs of a fidelity."""

    epoch: int
    seconds: float
    kendall: Estimate


@dataclass(frozen=True)
class Judged:
    """What a fidelity is worth.

    networks  that it and the longest were measured for; `accuracy` percent [all networks, seeds],
              NaN where a training failed.
    kendall   tau-b with the longest, spearman's rho likewise.
    seconds   of a training, the median, by `nas.fidelity.trainings.clock_of`.
    seed_sd   of a seed, in points; spread, the sd between networks, likewise.
    rungs     one for each of its epochs.
    worth     see `RULE`.
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
    """Kendall's tau-b of numbers [..., n] with others, [...]; 0 where all are equal, which ranks
    nothing."""
    signs = [np.sign(each[..., :, None] - each[..., None, :]) for each in (first, second)]
    pairs = [np.abs(sign).sum((-2, -1)) for sign in signs]
    agreeing = (signs[0] * signs[1]).sum((-2, -1))
    return agreeing / np.sqrt(np.maximum(pairs[0] * pairs[1], 1))


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rho of numbers [..., n] with others, [...]; 0 where all are equal."""
    ranks = [_ranks(each) for each in (first, second)]
    apart = [each - each.mean(-1, keepdims=True) for each in ranks]
    squares = [(each**2).sum(-1) for each in apart]
    together = (apart[0] * apart[1]).sum(-1)
    return together / np.sqrt(np.where(squares[0] * squares[1] > 0, squares[0] * squares[1], 1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks [..., n], equal values sharing the mean of theirs."""
    mine, others = values[..., :, None], values[..., None, :]
    return (mine > others).sum(-1) + 0.5 * (mine == others).sum(-1)


def estimate(measure: Measure, first: np.ndarray, second: np.ndarray) -> Estimate:
    """The mean of a correlation over all pairs of different seeds, with its interval.

    Accuracies are [networks, seeds] with two seeds or more; networks with a NaN do not count.
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
    """Of accuracies [..., n, seeds], [...]."""
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
    """What each fidelity is worth, in the order given.

    answers  [fidelity][network][seed]; the last fidelity is the longest.
    """
    longest = _accuracy(answers[-1])
    found = [_compared(*each, longest) for each in zip(answers, fidelities, strict=True)]
    floor = found[-1].kendall
    return [Judged(**{**vars(each), "worth": _is_worth(each.kendall, floor)}) for each in found]


def _is_worth(tau: Estimate, floor: Estimate) -> bool:
    """See `RULE`; comparisons with NaN are false."""
    return tau.low > 0 and floor.low > 0 and tau.value >= SHARE * floor.value


def answer(judged: Sequence[Judged]) -> Judged | None:
    """The cheapest that is worth using; None where not even the longest is."""
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
    """Percent at the end, or after an epoch, [networks, seeds]; NaN where the training failed."""
    return np.array([[_at(each, epoch)[0] for each in row] for row in answers])


def _median_seconds(answers: Sequence[Sequence[Answer]], epoch: int | None) -> float:
    seconds = [_at(each, epoch)[1] for row in answers for each in row]
    sound = [each for each in seconds if math.isfinite(each)]
    return float(np.median(sound)) if sound else math.nan


def _at(answer: Answer, epoch: int | None) -> tuple[float, float]:
    """Accuracy and seconds of an answer, or of the point of its curve after an epoch."""
    nothing = (math.nan, math.nan)
    if answer.error:
        return nothing
    if epoch is None:
        return answer.accuracy, answer.seconds
    points = [point for point in answer.curve if point.step == epoch]
    return (points[0].accuracy, points[0].seconds) if points else nothing
