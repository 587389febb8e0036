"""NSGA-II (Deb et al. 2002), a multi-objective genetic algorithm for accuracy and cost."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nas.history import History
from nas.strategies.base import Replay, fresh_mutants, sample_fresh


@dataclass(frozen=True)
class Nsga2:
    """NSGA-II on accuracy and the objective's target cost.

    population  number of survivors. They are selected after every `population` evaluations, by
                front rank and then by crowding distance.
    crossover   probability of uniform crossover of two parents before the mutation.
    generation  children per call if evaluations are cheap.
    """

    population: int = 50
    crossover: float = 0.5
    generation: int = 500
    _survivors: Replay = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        replay = Replay(lambda history: np.empty(0, np.int64), self._step, chunk=self.population)
        object.__setattr__(self, "_survivors", replay)

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
        if len(history) < self.population:
            return sample_fresh(history, min(count, self.population - len(history)), rng)
        survivors = self._survivors(history)  # best first: the lower index wins a tournament
        seats = rng.integers(0, len(survivors), (2, 2 * count, 2)).min(2)
        mothers, fathers = history.genotypes[survivors[seats]]
        crossed = rng.random(len(mothers)) < self.crossover
        from_father = crossed[:, None] & (rng.random(mothers.shape) < 0.5)
        children = history.space.canonical(np.where(from_father, fathers, mothers))
        mutants = fresh_mutants(children, history, count, rng)
        return mutants if len(mutants) else sample_fresh(history, count, rng)

    def _step(self, survivors: np.ndarray, history: History, start: int, stop: int) -> np.ndarray:
        rows = np.concatenate([survivors, np.arange(start, stop)])
        accuracy = np.nan_to_num(history.expected[rows], nan=-np.inf)
        cost = history.costs.get(history.objective.of)[rows].astype(np.float64)
        points = np.stack([-accuracy, cost], axis=1)
        rank = front_rank(points)
        return rows[np.lexsort((-crowding(points, rank), rank))][: self.population]


def front_rank(points: np.ndarray) -> np.ndarray:
    """Return the front rank [n] of points [n, objectives], which are minimised; 0 is the best."""
    no_worse = np.all(points[:, None] <= points[None], axis=2)
    better = np.any(points[:, None] < points[None], axis=2)
    dominates: np.ndarray = no_worse & better
    rank = np.full(len(points), -1)
    left = np.ones(len(points), bool)
    for front in range(len(points)):
        now = left & ~dominates[left].any(0)
        rank[now] = front
        left &= ~now
        if not left.any():
            break
    return rank


def crowding(points: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return the crowding distance [n] of points within their fronts; infinite at the ends."""
    distance = np.zeros(len(points))
    for front in range(rank.max() + 1):
        members = np.flatnonzero(rank == front)
        for column in points[members].T:
            order = members[np.argsort(column, kind="stable")]
            values = np.sort(column)
            finite = values[np.isfinite(values)]
            span = np.ptp(finite) if len(finite) else 0.0
            distance[order[[0, -1]]] = np.inf
            if len(order) > 2 and span > 0:
                distance[order[1:-1]] += np.nan_to_num((values[2:] - values[:-2]) / span)
    return distance
