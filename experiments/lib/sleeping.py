"""An evaluator that sleeps instead of training, for `experiments.search_overhead`."""

from __future__ import annotations

import time

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator
from search_spaces.space import SearchSpace


class Sleeping(Evaluator):
    """Sleeps, and returns a score that takes no time to compute."""

    name = "sleeping"

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Return the logarithms of the FLOPs of genotypes int8 [n, decisions]."""
        time.sleep(self.seconds * len(genotypes))
        accuracy = 5 * np.log(space.costs(genotypes).flops / 1e6)
        nothing = np.full(len(genotypes), np.nan)
        return Evaluations(accuracy, nothing, np.zeros(len(genotypes)))
