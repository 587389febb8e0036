"""Regularized evolution (Real et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.history import History
from nas.strategies.base import fresh_mutants, sample_fresh

GROWTH = 4  # a generation has at most 1 / GROWTH times as many networks as were evaluated


@dataclass(frozen=True)
class Evolution:
    """Regularized evolution; the population consists of the last `population` evaluations.

    population  size of the population; the first networks are random.
    tournament  number of networks drawn from the population; the best is the parent of a child.
    generation  children per call if evaluations are cheap; 1 is the paper's algorithm.
    """

    population: int = 100
    tournament: int = 25
    generation: int = 1000

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
        if len(history) < self.population:
            return sample_fresh(history, min(count, self.population - len(history)), rng)
        count = min(count, max(1, len(history) // GROWTH))  # small budgets get generations too
        alive = len(history) - self.population
        # 2 * count tournaments, because some of the children are already in the history
        seats = rng.integers(alive, len(history), (2 * count, self.tournament), dtype=np.int64)
        winners = seats[np.arange(len(seats)), history.reward[seats].argmax(1)]
        children = fresh_mutants(history.genotypes[winners], history, count, rng)
        return children if len(children) else sample_fresh(history, count, rng)
