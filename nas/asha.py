"""Asynchronous successive halving: evaluations that lag behind the others are stopped early.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), in the variant that
stops evaluations instead of pausing them, so that no evaluation waits for others. Searches use
this implementation; `train.ray_tune` uses Ray's ASHAScheduler, which supports only Ray Tune's
trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from train.parser import check_factor


@dataclass(frozen=True)
class Asha:
    """Scheduler that stops evaluations outside the best `1 / factor` at a rung.

    A rung is a number of steps: `first`, first * factor, ... below `steps`. An evaluation is
    compared with those that have reached the same rung so far. The state consists of the recorded
    values; a resumed search restores it by recording its curves again.

    No evaluation is stopped at a rung until the best `1 / factor` all have an accuracy above
    chance, because the ranking of networks at chance level is noise.

    steps   steps of a full evaluation.
    first   first rung, from 1.
    factor  reduction factor.
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
            raise ValueError(f"first: {self.first!r} is not allowed; use a step of 1 or more")
        for rung in self.rungs:
            self._recorded[rung] = {}

    @property
    def rungs(self) -> tuple[int, ...]:
        """Steps at which evaluations are compared, in ascending order."""
        found, rung = [], float(self.first)
        while round(rung) < self.steps:
            found.append(round(rung))
            rung *= self.factor
        return tuple(dict.fromkeys(found))

    def record(self, number: int, step: int, value: float, *, guessing: bool = False) -> None:
        """Record the value of evaluation `number` at a step; steps that are not rungs are ignored.

        guessing  whether its accuracy at this step does not differ from chance.
        """
        if step in self._recorded:
            self._recorded[step][number] = -math.inf if math.isnan(value) else value
            (self._guessing.add if guessing else self._guessing.discard)((step, number))

    def stops(self, number: int, step: int) -> bool:
        """Return whether evaluation `number`, recorded at this step, should stop."""
        values = self._recorded.get(step, {})
        if number not in values:
            return False
        learned = sum((step, other) not in self._guessing for other in values)
        if learned < max(1, int(len(values) / self.factor)):
            return False
        return values[number] < cutoff(list(values.values()), self.factor)


def cutoff(values: Sequence[float], factor: float) -> float:
    """Return the lowest value among the best `1 / factor` of the values (at least one)."""
    best = sorted(values, reverse=True)
    return best[max(1, int(len(best) / factor)) - 1]
