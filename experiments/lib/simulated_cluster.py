"""A simulated cluster whose nodes leave and are replaced, for `experiments.thousand_workers`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.evaluators.base import Answer, Point
from nas.evaluators.surrogate import load_surrogate
from nas.history import History
from nas.search.workers import Message, Simulated
from nas.strategies.base import Strategy
from search_spaces.space import SearchSpace

EPOCHS = (0.6, 0.9, 1.0)  # share of the final accuracy after each of three epochs
MINUTES = 10.0  # duration of a training of 300M FLOPs
SPREAD = 0.2  # standard deviation of the logarithm of the duration
NOISE = 0.2  # standard deviation between trainings of one network, in points


@dataclass(frozen=True)
class Curves:
    """Learning curves of the surrogate's accuracy: (genotype, seed) -> points.

    Durations are proportional to FLOPs, with noise; noise depends on network and seed only.
    """

    space: SearchSpace

    def __call__(self, genotype: np.ndarray, seed: int) -> list[Point]:
        rows = genotype[None]
        rng = np.random.default_rng([seed, int(self.space.keys(rows)[0])])
        accuracy = float(load_surrogate("imagenet").predict(rows)[0][0]) + NOISE * rng.normal()
        flops = float(self.space.costs(rows).flops[0])
        seconds = 60 * MINUTES * flops / 300e6 * float(np.exp(SPREAD * rng.normal()))
        early = NOISE * rng.normal(size=len(EPOCHS)) * (np.arange(len(EPOCHS)) < len(EPOCHS) - 1)
        return [
            Point(step, share * accuracy + float(more), seconds * step / len(EPOCHS))
            for step, (share, more) in enumerate(zip(EPOCHS, early, strict=True), 1)
        ]


class Nodes(Simulated):
    """Nodes with slots for trainings; each node leaves at some time and is replaced.

    curve_of  see `Simulated`.
    nodes     number of nodes, with `slots` trainings each.
    hourly    share of the nodes that leave within an hour; away: minutes until the replacement.

    A training that loses its node starts again when a slot is free, and reports its points again.
    `restarts` counts these. `spent` holds the processor seconds of the simulation itself.
    """

    def __init__(
        self,
        curve_of: Callable[[np.ndarray, int], Sequence[Point]],
        nodes: int,
        slots: int,
        *,
        hourly: float = 0.0,
        away: float = 10.0,
    ) -> None:
        super().__init__(curve_of, capacity=nodes * slots, steps=len(EPOCHS))
        self._slots, self._away = slots, 60 * away
        self._rng = np.random.default_rng(0)
        self._gap = 3600 / (nodes * hourly) if hourly else np.inf  # mean seconds between departures
        self._leaves = self._rng.exponential(self._gap) if hourly else np.inf
        self._returns: list[float] = []
        self._waiting: list[int] = []  # numbers of trainings that lost their node
        self._jobs: dict[int, tuple[np.ndarray, int]] = {}
        self.restarts, self.spent, self.lost_nodes = 0, 0.0, 0

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Start a training now."""
        began = time.process_time()
        self._jobs[number] = (genotype, seed)
        super().start(number, genotype, seed=seed)
        self.spent += time.process_time() - began

    def wait(self, seconds: float) -> list[Message]:
        """Return the next message, after processing the nodes that left or came before it."""
        began = time.process_time()
        found: list[Message] = []
        while not found and (self._events or self._waiting):
            while self._change():
                pass
            found = super().wait(seconds)
        for number, message in found:
            if isinstance(message, Answer):
                del self._jobs[number]
                self._fill()
        self.spent += time.process_time() - began
        return found

    def stop(self, number: int) -> None:
        """See `Simulated`."""
        began = time.process_time()
        super().stop(number)
        self.spent += time.process_time() - began

    def _change(self) -> bool:
        """Process one departure or return of a node before the next event; return False if none."""
        event = self._events[0].time if self._events else np.inf
        comes = min(self._returns, default=np.inf)
        if min(comes, self._leaves) > event or min(comes, self._leaves) == np.inf:
            return False
        self.now = max(self.now, min(comes, self._leaves))
        if comes <= self._leaves:
            self._returns.remove(comes)
            self.capacity += self._slots
        else:
            self._leaves += self._rng.exponential(self._gap)
            self._returns.append(self.now + self._away)
            busy = [number for number in self._began if number not in self._stopped]
            # the slots of the node are drawn from all slots; some may be empty
            slots = self._rng.permutation(max(self.capacity, len(busy)))[: self._slots]
            for number in (busy[slot] for slot in slots if slot < len(busy)):
                self._give_up(number)
            self.capacity -= self._slots
            self.lost_nodes += 1
        self._fill()
        return True

    def _fill(self) -> None:
        """Start waiting trainings in the free slots."""
        while self._waiting and len(self._began) < self.capacity:
            number = self._waiting.pop(0)
            super().start(number, self._jobs[number][0], seed=self._jobs[number][1])

    def _give_up(self, number: int) -> None:
        """Drop the events of a training whose node is gone, and let it wait for a slot."""
        self._spent += self.now - self._began.pop(number)
        self._events = [event for event in self._events if event.number != number]
        self._events.sort()
        self._waiting.append(number)
        self.restarts += 1


class Watched:
    """A strategy that records the processor time of its proposals.

    calls  (rows of the history, networks proposed, processor seconds) of each call.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.strategy, self.generation = strategy, strategy.generation
        self.calls: list[tuple[int, int, float]] = []

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return the proposal of the strategy."""
        began = time.process_time()
        proposals = self.strategy.propose(history, count, rng)
        self.calls.append((len(history), len(proposals), time.process_time() - began))
        return proposals
