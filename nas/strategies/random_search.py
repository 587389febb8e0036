"""Random search, the baseline of all other strategies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.history import History
from nas.strategies.base import sample_fresh


@dataclass(frozen=True)
class Random:
    """Independent random draws of feasible networks.

    generation  proposals per call if evaluations are cheap.
    """

    generation: int = 5000

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
        return sample_fresh(history, count, rng)
