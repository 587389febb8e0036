"""Local search with restarts (White et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nas.history import History
from nas.strategies.base import Replay, fresh, sample_fresh

Climb = tuple[int, float, int]  # first row of the climb, its best reward, row of the best reward


@dataclass(frozen=True)
class LocalSearch:
    """Best-first local search; neighbours are networks that differ in one decision.

    A climb proposes the untried neighbours of its best network, then those of its second best
    network, and so on.

    patience    a climb ends after patience x (number of neighbours) evaluations without a better
                network.
    starts      number of random networks at the start of each climb.
    generation  proposals per call if evaluations are cheap.
    """

    patience: float = 1.0
    starts: int = 5
    generation: int = 50
    _climb: Replay = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_climb", Replay(_new_climb, self._step, chunk=1))

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
        begin, _, _ = self._climb(history)
        missing = begin + self.starts - len(history)
        if missing > 0:
            return sample_fresh(history, min(count, missing), rng)
        found = np.empty((0, history.genotypes.shape[1]), np.int8)
        for row in begin + np.argsort(-history.reward[begin:], kind="stable"):
            around = rng.permutation(history.space.neighbours(history.genotypes[row]))
            found = np.concatenate([found, fresh(around, history, taken=found)])
            if len(found) >= count:
                break
        return found[:count] if len(found) else sample_fresh(history, count, rng)

    def _step(self, climb: Climb, history: History, row: int, stop: int) -> Climb:
        begin, best, at = climb
        reward = history.reward[row]
        if reward > best:
            return begin, reward, row
        around = int((history.space.option_counts - 1).sum())
        given_up = row - max(at, begin + self.starts) >= self.patience * around
        return (stop, -np.inf, stop) if given_up else climb


def _new_climb(history: History) -> Climb:
    return 0, -np.inf, 0
