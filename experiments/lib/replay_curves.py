"""Searches with and without early stopping, replayed over recorded learning curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.networks import COMPACT_FLOPS, compact_space
from experiments.lib.replay import packed, unpacked
from nas.asha import Asha
from nas.evaluators.base import Point
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.workers import Simulated
from nas.strategies.base import Strategy
from nas.strategies.optuna_sampler import OptunaSampler
from nas.strategies.predictor import Predictor
from nas.strategies.random_search import Random
from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Curves:
    """Recorded learning curves of m networks, all with the same number of steps.

    genotypes  int8 [m, decisions]; accuracy percent and seconds so far, float64 [m, steps].
    noise      standard deviation of the last accuracy over training seeds, in points; NaN if no
               network was recorded twice.
    complete   whether all networks have been recorded.
    """

    space: SearchSpace
    genotypes: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray
    noise: float
    complete: bool

    @property
    def steps(self) -> int:
        """Number of points of every curve."""
        return self.accuracy.shape[1]


def read_curves(path: Path) -> Curves:
    """Read the curves of `experiments.cifar10_curves`; ValueError for less than two networks."""
    if not path.is_file():
        raise ValueError(
            f"curves: {path} does not exist; create it with: python -m experiments.cifar10_curves"
        )
    content = json.loads(path.read_text())
    the_space = compact_space()
    first = [arm for arm in content["arms"] if arm["seed"] == 0]
    if len(first) < 2:
        raise ValueError(f"curves: {path} holds {len(first)} networks; at least 2 are needed")
    noise = content["seed_noise_sd"]
    return Curves(
        the_space,
        np.stack([the_space.encode(arm["choices"]) for arm in first]),
        np.array([arm["accuracy"] for arm in first], np.float64),
        np.array([arm["seconds"] for arm in first], np.float64),
        float("nan") if noise is None else float(noise),
        not content["partial"],
    )


# the predictor chooses in the pool of recorded networks; proposals of others go to the nearest
SEARCHES: dict[str, Callable[[Curves, Objective], Strategy]] = {
    "predictor": lambda curves, objective: Predictor(
        curves.space, objective, pool=curves.genotypes
    ),
    "random": lambda curves, objective: Random(),
    "optuna:tpe-multivariate": lambda curves, objective: OptunaSampler("tpe-multivariate"),
}


def run(name: str, seed: int, curves: Curves, *, workers: int, asha: Asha | None) -> dict[str, Any]:
    """Run one search through all recorded networks.

    spent    training seconds of all workers when each full evaluation was known, increasing.
    regret   points between the best recorded accuracy and the best one known in full by then.
    total, wall  training seconds, and seconds on the clock of the cluster, of the whole search.
    """
    rows = {int(key): row for row, key in enumerate(curves.space.keys(curves.genotypes))}

    def curve(genotype: np.ndarray, _: int) -> list[Point]:
        row = rows[int(curves.space.keys(genotype[None])[0])]
        both = zip(curves.accuracy[row], curves.seconds[row], strict=True)
        return [Point(step, float(a), float(s)) for step, (a, s) in enumerate(both, start=1)]

    objective = Objective(COMPACT_FLOPS, "feasible")
    history = History(curves.space, objective)
    cluster = Simulated(curve, capacity=workers, steps=curves.steps)
    spent: list[float] = []
    search_asynchronously(
        history,
        SEARCHES[name](curves, objective),
        cluster,
        Plan(len(curves.genotypes), seed=seed, asha=asha, pool=curves.genotypes),
        record=lambda _: spent.append(cluster.busy),
    )
    full = history.full
    best = np.maximum.accumulate(history.accuracy[full])
    return {
        "strategy": name,
        "workers": workers,
        "seed": seed,
        "asha": asha is not None,
        "spent": packed(np.array(spent)[full], 1),
        "regret": packed(curves.accuracy[:, -1].max() - best, 2),
        "total": round(float(history.seconds.sum()), 1),
        "wall": round(cluster.now, 1),
    }


def seconds_known(run: dict[str, Any], networks: int) -> float:
    """Return the training seconds spent when `networks` networks were known in full."""
    return float(unpacked(run["spent"])[networks - 1])


def regret_at(runs: list[dict[str, Any]], seconds: np.ndarray) -> np.ndarray:
    """Return the mean regret [k] of the runs after seconds [k]; NaN until all runs have one."""
    each = []
    for one in runs:
        known = np.searchsorted(unpacked(one["spent"]), seconds, side="right") - 1
        each.append(np.where(known >= 0, unpacked(one["regret"])[known], np.nan))
    return np.mean(each, axis=0)


def seconds_to_mean(runs: list[dict[str, Any]], regret: float) -> float:
    """Return training seconds until the runs reach a mean regret; infinite if they never do."""
    moments = np.unique(np.concatenate([unpacked(one["spent"]) for one in runs]))
    reached = np.flatnonzero(regret_at(runs, moments) <= regret)
    return float(moments[reached[0]]) if len(reached) else float("inf")


def seconds_to_each(runs: list[dict[str, Any]], regret: float, penalty: float) -> np.ndarray:
    """Return for each run the training seconds until it reaches a regret, [runs].

    A run that never reaches it counts with all its seconds plus `penalty` seconds.
    """
    needed = []
    for one in runs:
        reached = np.flatnonzero(unpacked(one["regret"]) <= regret)
        spent = unpacked(one["spent"])
        needed.append(spent[reached[0]] if len(reached) else one["total"] + penalty)
    return np.array(needed)
