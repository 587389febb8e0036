"""Verdict on a supernet: rank correlations of its scores with stand-alone trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.fidelity.ranks import kendall
from vbs.text import counted
from vbs.units import minutes

LEAST, AHEAD = 0.5, 0.1  # a useful supernet has at least this tau, and this lead over FLOPs, params
DRAWS, LEVEL = 2000, 0.90  # resamples and level of the bootstrap over networks
UNCHECKED = (
    "supernet: its ranking has NOT been checked (--judge 0); shared weights often rank worse than "
    "the number of parameters"
)


@dataclass(frozen=True)
class Ranking:
    """Ranking of the judge's networks by one predictor.

    tau        Kendall's tau-b with the accuracies of the stand-alone trainings.
    low, high  its 90% interval, by a bootstrap over networks.
    seconds    time of the predictor for all networks, of all processes together.
    """

    tau: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """Rankings of a supernet and of simpler predictors.

    rankings  by name: "supernet", "FLOPs", "params", "short training".
    networks  number of networks of the judge.
    seeds     number of seeds of their stand-alone trainings.
    floor     tau between the seeds of the judge; NaN for one seed. No predictor can be expected to
              exceed it by much.
    short     fidelity of the short training, as text.
    """

    rankings: Mapping[str, Ranking]
    networks: int
    seeds: int
    floor: float
    short: str

    @property
    def is_useful(self) -> bool:
        """Whether the supernet ranks well enough, and better than FLOPs and params."""
        tau = self.rankings["supernet"].tau
        sizes = max(self.rankings[name].tau for name in ("FLOPs", "params"))
        return tau >= LEAST and tau >= sizes + AHEAD

    @property
    def lines(self) -> list[str]:
        """Printed lines of the verdict."""
        shown = ", ".join(
            f"{name} {each.tau:.2f} ({each.low:.2f} to {each.high:.2f})"
            for name, each in self.rankings.items()
        )
        floor = "" if math.isnan(self.floor) else f"; between two seeds {self.floor:.2f}"
        spent = minutes(self.rankings["supernet"].seconds)
        short = f"; the short training is {self.short}" if self.short else ""
        return [
            f"supernet: Kendall tau with {self.networks} networks trained stand-alone, "
            f"{counted(self.seeds, 'seed')} each, with 90% intervals: {shown}{floor}.",
            f"supernet: training and scoring took {spent} of processor time{short}.",
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
        short = others.get("short training")
        if short is None:
            return (
                "supernet: it ranks better than FLOPs and params; short trainings are not compared."
            )
        if short > tau:
            return (
                "supernet: it ranks better than FLOPs and params, but short trainings rank better "
                "at equal seconds; use --evaluator proxy to compare few networks"
            )
        return "supernet: it ranks better than FLOPs, params and short trainings at equal seconds."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
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
    """Return the ranking of networks by scores.

    scores   scores of a predictor, [networks].
    reached  accuracies of the stand-alone trainings, [networks].
    seconds  time of the predictor.
    """
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
    """Return the verdict for accuracies and predictions.

    reached    percent [networks, seeds] of the stand-alone trainings; networks with NaN are
               ignored.
    predicted  name -> scores [networks], and seconds as in `Ranking`.
    short      fidelity of the short training, as text.

    Raises ValueError if fewer than two networks remain.
    """
    known = np.isfinite(reached).all(1)
    for scores, _ in predicted.values():
        known &= np.isfinite(scores)
    if known.sum() < 2:
        raise ValueError(
            f"judge: only {int(known.sum())} networks could be trained; at least 2 are needed"
        )
    reached = reached[known]
    mean = reached.mean(1)
    rankings = {
        name: ranking(scores[known], mean, seconds) for name, (scores, seconds) in predicted.items()
    }
    seeds = reached.shape[1]
    floor = float(kendall(reached[:, 0], reached[:, 1])) if seeds > 1 else math.nan
    return Verdict(rankings, len(mean), seeds, floor, short)
