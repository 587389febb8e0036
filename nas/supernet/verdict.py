"""How well does a supernet rank networks? Rank correlations with stand-alone trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.fidelity.ranks import kendall
from vbs.text import counted
from vbs.units import minutes

LEAST, AHEAD = 0.5, 0.1  # Kendall tau that is worth using, and what it must be above sizes
DRAWS, LEVEL = 2000, 0.90  # of the bootstrap over networks
UNCHECKED = (
    "supernet: its ranking has NOT been checked (--judge 0); weight sharing often ranks worse than "
    "counting parameters does"
)


@dataclass(frozen=True)
class Ranking:
    """How one predictor ranks the networks of the judge.

    tau        Kendall's tau-b with the accuracies of the stand-alone trainings.
    low, high  90% interval of it, by a bootstrap over networks.
    seconds    that the predictor took for all of them, of all processes together.
    """

    tau: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """Rankings by name ("supernet", "FLOPs", "params", "short training"), and of how many networks.

    seeds  of each of their stand-alone trainings.
    floor  tau between the seeds of the judge, which no predictor can be expected to surpass by
           much; NaN for one seed.
    short  what the short training is, as a text.
    """

    rankings: Mapping[str, Ranking]
    networks: int
    seeds: int
    floor: float
    short: str

    @property
    def is_useful(self) -> bool:
        """Whether the supernet ranks well enough, and better than sizes do."""
        tau = self.rankings["supernet"].tau
        sizes = max(self.rankings[name].tau for name in ("FLOPs", "params"))
        return tau >= LEAST and tau >= sizes + AHEAD

    @property
    def lines(self) -> list[str]:
        """The verdict as it is printed."""
        shown = ", ".join(
            f"{name} {each.tau:.2f} ({each.low:.2f} to {each.high:.2f})"
            for name, each in self.rankings.items()
        )
        floor = "" if math.isnan(self.floor) else f"; between two seeds {self.floor:.2f}"
        spent = minutes(self.rankings["supernet"].seconds)
        short = f"; the short training is {self.short}" if self.short else ""
        return [
            f"supernet: Kendall tau with {self.networks} networks trained on their own, "
            f"{counted(self.seeds, 'seed')} each, with 90% intervals: {shown}{floor}.",
            f"supernet: training and scoring took {spent} of processors' time{short}.",
            self._judgement(),
        ]

    def _judgement(self) -> str:
        tau = self.rankings["supernet"].tau
        others = {name: each.tau for name, each in self.rankings.items() if name != "supernet"}
        sizes = {name: others[name] for name in ("FLOPs", "params")}
        size = max(sizes, key=lambda name: sizes[name])
        reasons = []
        if tau < LEAST:
            reasons.append(f"its tau is below {LEAST}")
        if tau < sizes[size] + AHEAD:
            reasons.append(f"it is not {AHEAD} above that of {size}")
        if reasons:
            return (
                f"warning: do not rely on this supernet: {' and '.join(reasons)}; use --evaluator "
                "proxy, which trains each network"
            )
        short = others.get("short training", -1.0)
        if short > tau:
            return (
                "supernet: it ranks better than FLOPs and params, but short trainings rank better "
                "at equal seconds; use --evaluator proxy where few networks are compared"
            )
        return "supernet: it ranks better than FLOPs, params and short trainings at equal seconds."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        numbers = {
            name: {key: round(value, 4) for key, value in asdict(each).items()}
            for name, each in self.rankings.items()
        }
        floor = None if math.isnan(self.floor) else round(self.floor, 4)
        return {
            "rankings": numbers,
            "networks": self.networks,
            "seeds": self.seeds,
            "floor": floor,
            "short": self.short,
            "useful": self.is_useful,
        }


def ranking(scores: np.ndarray, reached: np.ndarray, seconds: float) -> Ranking:
    """How scores [networks] rank accuracies [networks]; seconds as in `Ranking`."""
    rows = np.random.default_rng(0).integers(len(scores), size=(DRAWS, len(scores)))
    low, high = np.quantile(
        kendall(scores[rows], reached[rows]), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    )
    return Ranking(float(kendall(scores, reached)), float(low), float(high), seconds)


def verdict(
    reached: np.ndarray,
    predicted: Mapping[str, tuple[np.ndarray, float]],
    *,
    short: str = "",
) -> Verdict:
    """The verdict of accuracies.

    reached    percent [networks, seeds] of the stand-alone trainings; networks with a NaN do not
               count.
    predicted  name -> what it predicts [networks], and its seconds, as in `Ranking`.

    Raises ValueError where fewer than two networks are left.
    """
    known = np.isfinite(reached).all(1)
    for scores, _ in predicted.values():
        known &= np.isfinite(scores)
    if known.sum() < 2:
        raise ValueError(f"judge: {int(known.sum())} networks could be trained; two are needed")
    reached = reached[known]
    mean = reached.mean(1)
    rankings = {
        name: ranking(scores[known], mean, seconds) for name, (scores, seconds) in predicted.items()
    }
    seeds = reached.shape[1]
    floor = float(kendall(reached[:, 0], reached[:, 1])) if seeds > 1 else math.nan
    return Verdict(rankings, len(mean), seeds, floor, short)
