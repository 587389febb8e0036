"""Asynchronous successive halving: evaluations that lag behind the others are stopped early.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), in the variant that
stops evaluations instead of pausing them, so that no evaluation waits for others. Searches use
this implementation; `train.ray_tune` uses Ray's ASHAScheduler, which supports only Ray Tune's
trials.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
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
    _rungs: dict[int, Rung] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_factor(self.factor)
        if not self.first >= 1:
            raise ValueError(f"first: {self.first!r} is not allowed; use a step of 1 or more")
        for rung in self.rungs:
            self._rungs[rung] = Rung()

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

        value     accuracy in percent or another value to maximise; NaN is the lowest.
        guessing  whether its accuracy at this step does not differ from chance.
        """
        if step in self._rungs:
            self._rungs[step].record(number, -math.inf if math.isnan(value) else value, guessing)

    def stops(self, number: int, step: int) -> bool:
        """Return whether evaluation `number`, recorded at this step, should stop."""
        rung = self._rungs.get(step, Rung())
        return number in rung and not rung.promotes(number, self.factor)


class Rung:
    """Values of the evaluations that have reached a rung.

    They are kept sorted, because a search with thousands of evaluations compares each of them.
    """

    def __init__(self) -> None:
        self._values: dict[int, float] = {}
        self._sorted: list[float] = []
        self._guessing: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return number in self._values

    def record(self, number: int, value: float, guessing: bool) -> None:
        """Record the value of an evaluation, instead of an earlier value if it has one."""
        if number in self._values:
            del self._sorted[bisect_left(self._sorted, self._values[number])]
        insort(self._sorted, value)
        self._values[number] = value
        (self._guessing.add if guessing else self._guessing.discard)(number)

    def promotes(self, number: int, factor: float) -> bool:
        """Return whether an evaluation is among the best `1 / factor`, at least one."""
        count = max(1, int(len(self._values) / factor))
        if len(self._values) - len(self._guessing) < count:
            return True
        return self._values[number] >= self._sorted[-count]
