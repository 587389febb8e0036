"""One run of one strategy against the noisy surrogate, for `experiments.compare_strategies`."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np

from nas import catalog
from nas.evaluators.base import Evaluations, Evaluator
from nas.evaluators.surrogate import Surrogate, load_surrogate
from nas.history import History
from nas.objective import Objective, pareto_front
from nas.search.loop import LoopOptions, search
from nas.strategies.base import Strategy
from search_spaces.catalog import space
from search_spaces.space import SearchSpace

BUDGETS = (50, 80, 100, 300, 1000)
NOISE = 0.2  # points; the 13 networks measured twice differ by 0.20 on average
REFERENCE = (55.0, 400e6)  # accuracy and FLOPs a front must beat to add hypervolume
LONGEST = {"optuna:gp": 300, "optuna:tpe": 300}  # beyond, a run takes over ten minutes
FEWER_SEEDS = {"optuna:gp": 3}  # ten minutes for each run
TOGETHER = {"predictor": 8}  # proposals at a time, by a strategy's own generation; else 1


class Oracle(Evaluator):
    """The surrogate's mean, plus noise that depends on the network and the seed only."""

    name = "oracle"

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        self.surrogate, self.seed = surrogate, seed

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Noisy accuracies of genotypes int8 [n, decisions]."""
        mean, _ = self.surrogate.predict(genotypes)
        noise = [
            np.random.default_rng([self.seed, int(key)]).normal() for key in space.keys(genotypes)
        ]
        count = len(genotypes)
        return Evaluations(mean + NOISE * np.array(noise), np.full(count, NOISE), np.zeros(count))


def oracle_digest() -> str:
    """12 hex digits of the noise-free accuracies of 1,000 networks: equal oracles, equal runs."""
    genotypes = space("efficientnet").sample(1000, np.random.default_rng(0))
    mean, _ = load_surrogate("imagenet").predict(genotypes)
    return hashlib.sha256(np.round(mean, 3).tobytes()).hexdigest()[:12]


class Timed:
    """A strategy with a stop-watch."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy, self.generation = strategy, strategy.generation
        self.seconds = 0.0
        self.calls: list[tuple[int, float]] = []  # rows known, milliseconds for each proposal

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """What the strategy proposes."""
        start = time.perf_counter()
        proposals = self.strategy.propose(history, count, rng)
        elapsed = 1e3 * (time.perf_counter() - start)
        self.calls.append((len(history), elapsed / max(len(proposals), 1)))
        self.seconds += elapsed / 1e3
        return proposals

    def milliseconds(self, known: int) -> float:
        """Median for each proposal in the last tenth before that many were known."""
        last = [each for rows, each in self.calls if 0.9 * known - 8 <= rows < known]
        return round(float(np.median(last)), 3)


def make(name: str, the_space: SearchSpace, objective: Objective) -> Strategy:
    """A strategy of ours, or "optuna:SAMPLER"."""
    if name.startswith("optuna:"):
        from nas.strategies.optuna_sampler import OptunaSampler

        return OptunaSampler(name.removeprefix("optuna:"))
    return catalog.strategy(name, the_space, objective)


def run(name: str, seed: int) -> dict[str, Any]:
    """One search; its figures after each of BUDGETS."""
    surrogate = load_surrogate("imagenet")
    the_space = space("efficientnet")
    objective = Objective(REFERENCE[1], "feasible")
    strategy = Timed(make(name, the_space, objective))
    longest = LONGEST.get(name, BUDGETS[-1])
    together = TOGETHER.get(name, 1)
    history = search(
        the_space,
        Oracle(surrogate, seed),
        objective,
        strategy,
        longest,
        LoopOptions(seed=seed, workers=together),
    )
    truth, _ = surrogate.predict(history.genotypes)
    budgets = [budget for budget in BUDGETS if budget <= longest]
    flops = history.costs.flops.astype(np.float64)
    return {
        "strategy": name,
        "seed": seed,
        "accuracy": {n: round(best_of_five(history.accuracy[:n], truth[:n]), 4) for n in budgets},
        "hypervolume": {n: round(hypervolume(truth[:n], flops[:n]), 4) for n in budgets},
        "milliseconds": {n: strategy.milliseconds(n) for n in budgets},
    }


def best_of_five(observed: np.ndarray, truth: np.ndarray) -> float:
    """Noise-free accuracy of the best among the five that looked best: what retraining finds."""
    return float(truth[np.argsort(-observed, kind="stable")[:5]].max())


def hypervolume(accuracy: np.ndarray, flops: np.ndarray) -> float:
    """Area [points x G FLOPs] between the front and the reference point."""
    front = pareto_front(accuracy, flops)
    front = front[(accuracy[front] > REFERENCE[0]) & (flops[front] <= REFERENCE[1])]
    ends = np.append(flops[front][1:], REFERENCE[1])
    return float(((ends - flops[front]) / 1e9 * (accuracy[front] - REFERENCE[0])).sum())
