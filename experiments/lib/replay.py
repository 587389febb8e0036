"""Searches replayed on a simulated cluster, for `experiments.fewer_trainings`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.strategy_runs import best_of_five
from experiments.lib.strategy_tasks import NOISE, REFERENCE
from nas import catalog
from nas.evaluators.base import Point
from nas.evaluators.surrogate import load_surrogate
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.workers import Simulated
from nas.strategies.bayes import Basis, make_basis
from search_spaces.catalog import space
from search_spaces.space import SearchSpace

OUTLIER = 6_000.0  # seconds; longer measurements include waiting
RIDGE = 1.0  # on standardised features; the R2 changes in the third digit between 0.1 and 10
HELD_OUT = 0.2  # share of the measurements on which R2 and residuals are computed


@dataclass(frozen=True)
class Durations:
    """Training times of networks: a regression of log seconds, and its residuals.

    center, spread  [features] mean and deviation of the features of `basis`.
    weights    [1 + features], of standardised features.
    residuals  of the held-out measurements, in log seconds, to draw from.
    r2         on the held-out measurements.
    """

    space: SearchSpace
    basis: Basis
    center: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray
    r2: float
    dropped: int

    def seconds(self, genotype: np.ndarray, seed: int) -> float:
        """Return the seconds of a genotype [decisions]; its residual depends on the seed."""
        rng = np.random.default_rng([1, seed, int(self.space.keys(genotype[None])[0])])
        described = self.basis.describe(genotype[None], self.space.costs(genotype[None]))
        scaled = (self.basis.features(described)[0] - self.center) / self.spread
        explained = self.weights[0] + scaled @ self.weights[1:]
        return float(np.exp(explained + rng.choice(self.residuals)))


def fit_durations(measurements: Path) -> Durations:
    """Fit durations to the `train_time` in a parquet file of measured networks of the B0 space."""
    import pandas

    the_space = space("efficientnet")
    table = pandas.read_parquet(measurements, columns=[*the_space.choices, "train_time"])
    seconds = table["train_time"].to_numpy()
    usual = seconds <= OUTLIER
    columns = [
        [options.index(value) for value in table[name][usual]]
        for name, options in the_space.choices.items()
    ]
    genotypes, logs = np.array(columns, np.int8).T, np.log(seconds[usual])
    basis = make_basis(the_space)
    raw = basis.features(basis.describe(genotypes, the_space.costs(genotypes)))
    center, spread = raw.mean(0), raw.std(0) + 1e-9
    design = np.concatenate([np.ones((len(raw), 1)), (raw - center) / spread], axis=1)
    order = np.random.default_rng(0).permutation(len(logs))
    held, used = np.split(order, [int(HELD_OUT * len(logs))])
    penalty = RIDGE * np.eye(design.shape[1])
    weights = np.linalg.solve(design[used].T @ design[used] + penalty, design[used].T @ logs[used])
    residuals = logs[held] - design[held] @ weights
    r2 = 1 - float((residuals**2).mean() / logs[held].var())
    return Durations(the_space, basis, center, spread, weights, residuals, r2, int((~usual).sum()))


def run(name: str, seed: int, *, workers: int, budget: int, durations: Durations) -> dict[str, Any]:
    """Run one search of the B0 space with `workers` simulated workers.

    accuracy  noise-free accuracy of the best of the five networks with the highest noisy accuracy,
              among the first n networks started, for n = 1 ... budget: the result of a search with
              that budget.
    seconds   on the clock of the cluster when the first n have ended.
    """
    surrogate, the_space = load_surrogate("imagenet"), space("efficientnet")
    begun: list[np.ndarray] = []

    def curve(genotype: np.ndarray, _: int) -> list[Point]:
        begun.append(genotype)
        key = int(the_space.keys(genotype[None])[0])
        mean = surrogate.predict(genotype[None])[0][0]
        seen = float(mean + NOISE * np.random.default_rng([seed, key]).normal())
        return [Point(1, seen, durations.seconds(genotype, seed))]

    objective = Objective(REFERENCE[1], "feasible")
    history = History(the_space, objective)
    cluster = Simulated(curve, capacity=workers, steps=1)
    ended: list[float] = []
    search_asynchronously(
        history,
        catalog.strategy(name, the_space, objective),
        cluster,
        Plan(budget, seed=seed),
        record=lambda _: ended.append(cluster.now),
    )
    rows = {int(key): row for row, key in enumerate(the_space.keys(history.genotypes))}
    order = np.array([rows[int(key)] for key in the_space.keys(np.array(begun))])
    observed, clock = history.accuracy[order], np.maximum.accumulate(np.array(ended)[order])
    truth = surrogate.predict(history.genotypes)[0][order]
    counts = range(1, budget + 1)
    return {
        "strategy": name,
        "workers": workers,
        "seed": seed,
        "accuracy": packed([best_of_five(observed[:n], truth[:n]) for n in counts], 3),
        "seconds": packed(clock, 0),
    }


def packed(values: Sequence[float] | np.ndarray, digits: int) -> str:
    """Format numbers as one line of a result file; `unpacked` reads them."""
    return " ".join(f"{value:.{digits}f}" for value in values)


def unpacked(line: str) -> np.ndarray:
    """Read the numbers of `packed`, float64."""
    return np.array(line.split(), np.float64)


def evaluations_to(curve: np.ndarray, accuracy: float) -> float:
    """Return the evaluations after which a curve of accuracy after 1, 2, ... reaches a value.

    Interpolated; infinite if it never does. The running maximum of the curve counts.
    """
    best = np.maximum.accumulate(curve)
    reached = np.flatnonzero(best >= accuracy)
    if not len(reached):
        return float("inf")
    row = int(reached[0])
    if row == 0:
        return 1.0
    return row + float((accuracy - best[row - 1]) / (best[row] - best[row - 1]))
