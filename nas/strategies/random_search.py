"""Random search: uniform over the feasible networks. The baseline every strategy must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.history import History
from nas.strategies.base import sample_fresh


@dataclass(frozen=True)
class Random:
    """Independent draws within the limits."""

    generation: int = 5000

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """At most `count` new feasible genotypes, int8 [k, decisions]."""
        return sample_fresh(history, count, rng)
