"""Asynchronous successive halving: evaluations that lag behind the others are stopped early.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), in the form that
stops evaluations instead of pausing them, so that none waits for the others. Searches use this
implementation; `train.ray_tune` uses Ray's own ASHAScheduler, which works with Ray Tune's trials
only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from train.parser import check_factor


@dataclass(frozen=True)
class Asha:
    """Stops what is not among the best `1 / factor` that have reached the same rung so far.

    A rung is a number of steps: `first`, first * factor, ... below the full number. The state is
    what was recorded: rungs are rebuilt by recording old curves again.

    Nothing is stopped at a rung where even the best `1 / factor` do not all have an accuracy above
    chance: the order of guesses is noise.
    """

    steps: int
    first: int = 1
    factor: float = 3.0
    _recorded: dict[int, dict[int, float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _guessing: set[tuple[int, int]] = field(
        default_factory=set, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_factor(self.factor)
        if not self.first >= 1:
            raise ValueError(f"first: {self.first!r} is not allowed; use a step from 1")
        for rung in self.rungs:
            self._recorded[rung] = {}

    @property
    def rungs(self) -> tuple[int, ...]:
        """Steps at which evaluations are compared, rising."""
        found, rung = [], float(self.first)
        while round(rung) < self.steps:
            found.append(round(rung))
            rung *= self.factor
        return tuple(dict.fromkeys(found))

    def record(self, number: int, step: int, value: float, *, guessing: bool = False) -> None:
        """What evaluation `number` was worth at a step; steps between rungs are not kept.

        guessing  whether its accuracy there cannot be told from chance.
        """
        if step in self._recorded:
            self._recorded[step][number] = -math.inf if math.isnan(value) else value
            (self._guessing.add if guessing else self._guessing.discard)((step, number))

    def stops(self, number: int, step: int) -> bool:
        """Whether evaluation `number`, recorded at this step, is to go no further."""
        values = self._recorded.get(step, {})
        if number not in values:
            return False
        learned = sum((step, other) not in self._guessing for other in values)
        if learned < max(1, int(len(values) / self.factor)):
            return False
        return values[number] < cutoff(list(values.values()), self.factor)


def cutoff(values: Sequence[float], factor: float) -> float:
    """The value that the best `1 / factor` of the values reach, at least one of them."""
    best = sorted(values, reverse=True)
    return best[max(1, int(len(best) / factor)) - 1]
