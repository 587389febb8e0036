"""Regularized evolution (Real et al. 2019): tournaments among the youngest, the oldest die."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.history import History
from nas.strategies.base import fresh_mutants, sample_fresh


@dataclass(frozen=True)
class Evolution:
    """The population is the last `population` evaluations: ageing needs no other memory.

    population  how many live; the first ones are random.
    tournament  how many drawn networks compete to be the parent of each child.
    generation  children at once where evaluations cost nothing; 1 is the paper's algorithm.
    """

    population: int = 100
    tournament: int = 25
    generation: int = 1000

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """At most `count` new feasible genotypes, int8 [k, decisions]."""
        if len(history) < self.population:
            return sample_fresh(history, min(count, self.population - len(history)), rng)
        alive = len(history) - self.population
        # one random draw per seat of each tournament; two children per place, as some are known
        seats = rng.integers(alive, len(history), (2 * count, self.tournament), dtype=np.int64)
        winners = seats[np.arange(len(seats)), history.reward[seats].argmax(1)]
        children = fresh_mutants(history.genotypes[winners], history, count, rng)
        return children if len(children) else sample_fresh(history, count, rng)
