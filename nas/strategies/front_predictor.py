"""Bayesian optimisation of a whole front: proposals by hypervolume improvement.

The model and its tempered Thompson samples are those of `predictor`. Each sample has its own front
of what was evaluated, so that a lucky measurement does not count as progress (as in noisy expected
hypervolume improvement, Daulton et al. 2021; by samples as in TSEMO, Bradford et al. 2018). The
proposal of a sample is the network that adds most area to that front, found by a small evolution.
Costs are known exactly, so that only accuracy is modelled. The networks of a batch are chosen one
after another, each counting for those that follow, which spreads them along the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nas.history import History
from nas.objective import pareto_front
from nas.strategies.base import fresh, sample_fresh
from nas.strategies.predictor import RELEARN, Predictor
from search_spaces.cost import Costs


class Staircase(NamedTuple):
    """The front under one sample: from each cost [k], rising, the accuracy [k] that is reached.

    The first step is the reference accuracy from a cost of 0; `end` is the largest cost that
    counts.
    """

    cost: np.ndarray
    accuracy: np.ndarray
    end: float

    @classmethod
    def of(
        cls, accuracy: np.ndarray, cost: np.ndarray, *, reference: float, end: float
    ) -> Staircase:
        """From accuracies and costs [n] of networks."""
        front = pareto_front(accuracy, cost)
        front = front[(accuracy[front] > reference) & (cost[front] <= end)]
        return cls(np.append(0.0, cost[front]), np.append(reference, accuracy[front]), end)

    def gain(self, accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Area that each network [n] alone would add, in points x cost.

        Where it adds nothing: by how many points it stays below the front, as a number below 0,
        so that an evolution that has reached no gain yet moves towards the front.
        """
        stops = np.append(self.cost[1:], self.end)
        width = np.maximum(stops - np.maximum(self.cost, cost[:, None]), 0.0)
        area = (np.maximum(accuracy[:, None] - self.accuracy, 0.0) * width).sum(1)
        return np.where(area > 0, area, np.minimum(accuracy - self.at(cost), 0.0))

    def at(self, cost: np.ndarray) -> np.ndarray:
        """The accuracy [n] that is reached within each cost [n]."""
        return self.accuracy[np.searchsorted(self.cost, cost, side="right") - 1]


@dataclass(frozen=True)
class FrontPredictor(Predictor):
    """Proposes what adds most area between the front of accuracy and the cost that is aimed at,
    a reference accuracy, and the limit.

    The reward plays no part. Arguments are those of `Predictor`, but `scores`, which it does not
    use; its `rows` best networks are those nearest to the front.

    reference  accuracy in percent from which networks count; None: the lowest of what was
               evaluated.
    """

    elites: int = 8
    children: int = 24
    reference: float | None = None

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """At most `count` new feasible genotypes, int8 [k, decisions]."""
        known = np.flatnonzero(np.isfinite(history.accuracy))
        if len(known) < self.few or len(known) + len(history.pending) < self.start:
            return self._first(history, count, rng)
        early = min(self.learn, len(known) - len(known) % RELEARN)
        prior = self._prior(history, known[:early])
        data = self._data(history, known, prior)
        found = np.empty((0, data.genotypes.shape[1]), np.int8)
        for model in self._models(data, prior, count, rng):
            counted = np.concatenate([data.genotypes, found])
            best = self._best_under(model, counted, history, rng)
            found = np.concatenate([found, fresh(best, history, taken=found)[:1]])
        if len(found) or self.pool is not None:
            return found
        return sample_fresh(history, count, rng)

    def _best_under(
        self, model: np.ndarray, counted: np.ndarray, history: History, rng: np.random.Generator
    ) -> np.ndarray:
        """The elites [k, decisions] under a sample W [u, u], given the networks `counted`."""
        accuracy, costs = self._accuracy(model[None], counted[None])
        front = self._staircase(accuracy[0], costs, history)

        def gains(genotypes: np.ndarray) -> np.ndarray:
            accuracy, costs = self._accuracy(model[None], genotypes)
            gain = front.gain(accuracy[0], self._cost(costs))
            return np.where(self.objective.feasible(costs), gain, -np.inf)[None]

        start = counted[np.argsort(front.at(self._cost(costs)) - accuracy[0], kind="stable")]
        return self._maxima(start, gains, 1, history, rng, keep=self.elites)[0]

    def _staircase(self, accuracy: np.ndarray, costs: Costs, history: History) -> Staircase:
        """The front of networks of these accuracies [n] and costs."""
        observed = history.expected[np.isfinite(history.expected)]
        reference = float(observed.min()) if self.reference is None else self.reference
        end = self.objective.target
        if self.objective.over_target == "allow":
            end = max(end, float(self._cost(history.costs).max()))
        return Staircase.of(accuracy, self._cost(costs), reference=reference, end=end)

    def _cost(self, costs: Costs) -> np.ndarray:
        return costs.get(self.objective.of).astype(np.float64)

    def _ordered(self, accuracy: np.ndarray, costs: Costs) -> np.ndarray:
        """Rows [n] of what was evaluated, the nearest to the front first."""
        cost = self._cost(costs)
        lowest = float(accuracy.min())
        front = Staircase.of(accuracy, cost, reference=lowest, end=float(cost.max()))
        return np.argsort(front.at(cost) - accuracy, kind="stable")

    def _first(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random networks, spread evenly over the costs of four times as many."""
        if self.pool is None:
            draws = sample_fresh(history, 4 * count, rng)
        else:
            draws = rng.permutation(fresh(self.pool, history))[: 4 * count]
        order = np.argsort(self._cost(history.space.costs(draws)), kind="stable")
        places = np.linspace(0, len(draws) - 1, min(count, len(draws))).round().astype(int)
        return draws[order[places]] if count > 1 else draws[:1]
