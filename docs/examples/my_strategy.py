"""A strategy of your own: mutate one of the best networks so far.

vbs search --target-flops 400M --strategy my_strategy.py:Greedy --budget 2000
"""

from __future__ import annotations

import numpy as np

from nas.history import History
from nas.strategies.base import fresh, sample_fresh


class Greedy:
    """Strategy that mutates the ten best networks, after 20 random networks.

    A strategy has no state: each call reads everything from the history. A search can therefore be
    resumed from its history.
    """

    generation = 32  # proposals per call if evaluations are cheap
    budget = 2_000  # default of --budget

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """At most `count` genotypes, int8 [k, decisions], feasible and not in the history."""
        if len(history) < 20:
            return sample_fresh(history, count, rng)
        best = np.argsort(-np.nan_to_num(history.reward, nan=-np.inf))[:10]
        parents = history.genotypes[rng.choice(best, 4 * count)]
        mutants = fresh(history.space.mutate(parents, rng), history)[:count]
        return mutants if len(mutants) else sample_fresh(history, count, rng)
