"""A strategy of your own: mutate one of the best networks so far.

vbs search --target-flops 400M --strategy my_strategy.py:Greedy --budget 2000
"""

from __future__ import annotations

import numpy as np

from nas.history import History
from nas.strategies.base import fresh, sample_fresh


class Greedy:
    """Mutants of the ten best networks; random networks until there are 20.

    A strategy keeps nothing between calls: all that it needs is in the history, so that a search
    can be resumed.
    """

    generation = 32  # proposals at once, where evaluations cost nothing
    budget = 2_000  # networks, if --budget is not given

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """At most `count` genotypes, int8 [k, decisions], feasible and not in the history."""
        if len(history) < 20:
            return sample_fresh(history, count, rng)
        best = np.argsort(-np.nan_to_num(history.reward, nan=-np.inf))[:10]
        parents = history.genotypes[rng.choice(best, 4 * count)]
        mutants = fresh(history.space.mutate(parents, rng), history)[:count]
        return mutants if len(mutants) else sample_fresh(history, count, rng)
