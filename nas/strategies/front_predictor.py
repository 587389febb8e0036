"""Bayesian optimisation of a Pareto front: proposals by hypervolume improvement.

The model and its tempered Thompson samples are those of `predictor`. The front of the evaluated
networks is computed for each sample from the accuracies of that sample, so that a lucky
measurement does not count as progress (as in noisy expected hypervolume improvement, Daulton et
al. 2021; with samples as in TSEMO, Bradford et al. 2018). The proposal of a sample is the network
that adds the most area to its front, found by a small evolution. Costs are known exactly, so only
the accuracy is modelled. The networks of a batch are chosen in turn: each counts as evaluated for
the next ones, which spreads the batch along the front.
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
    """A front as a step function: the best accuracy within each cost.

    cost      [k], ascending; the first is 0.
    accuracy  [k] in percent; the first is the reference accuracy.
    end       largest cost that counts.
    """

    cost: np.ndarray
    accuracy: np.ndarray
    end: float

    @classmethod
    def of(
        cls, accuracy: np.ndarray, cost: np.ndarray, *, reference: float, end: float
    ) -> Staircase:
        """Return the front of networks with accuracies [n] and costs [n]."""
        front = pareto_front(accuracy, cost)
        front = front[(accuracy[front] > reference) & (cost[front] <= end)]
        return cls(np.append(0.0, cost[front]), np.append(reference, accuracy[front]), end)

    def gain(self, accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Return the area [n] that each network alone would add, in points x cost.

        For a network that adds no area, the value is its negative distance to the front in points,
        so that an evolution without any gain moves towards the front.
        """
        stops = np.append(self.cost[1:], self.end)
        width = np.maximum(stops - np.maximum(self.cost, cost[:, None]), 0.0)
        area = (np.maximum(accuracy[:, None] - self.accuracy, 0.0) * width).sum(1)
        return np.where(area > 0, area, np.minimum(accuracy - self.at(cost), 0.0))

    def at(self, cost: np.ndarray) -> np.ndarray:
        """Return the best accuracy [n] within each cost [n]."""
        return self.accuracy[np.searchsorted(self.cost, cost, side="right") - 1]


@dataclass(frozen=True)
class FrontPredictor(Predictor):
    """A strategy that proposes the networks that add the most area to the Pareto front.

    The front is that of accuracy and the objective's target cost; the area is bounded by a
    reference accuracy and the limit of that cost. The reward is not used. The arguments are those
    of `Predictor`, except that `scores` is not used and the `rows` best networks are the ones
    nearest to the front.

    reference  accuracy in percent above which networks count; None for the lowest accuracy of the
               evaluated networks.
    """

    elites: int = 8
    children: int = 24
    reference: float | None = None

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
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
        """Return the elites [k, decisions] under a sample W [u, u], given networks `counted`."""
        accuracy, costs = self._accuracy(model[None], counted[None])
        front = self._staircase(accuracy[0], costs, history)

        def gains(genotypes: np.ndarray) -> np.ndarray:
            accuracy, costs = self._accuracy(model[None], genotypes)
            gain = front.gain(accuracy[0], self._cost(costs))
            return np.where(self.objective.feasible(costs), gain, -np.inf)[None]

        start = counted[np.argsort(front.at(self._cost(costs)) - accuracy[0], kind="stable")]
        return self._maxima(start, gains, 1, history, rng, keep=self.elites)[0]

    def _staircase(self, accuracy: np.ndarray, costs: Costs, history: History) -> Staircase:
        """Return the front of networks with these accuracies [n] and costs."""
        observed = history.expected[np.isfinite(history.expected)]
        reference = float(observed.min()) if self.reference is None else self.reference
        end = self.objective.target
        if self.objective.over_target == "allow":
            end = max(end, float(self._cost(history.costs).max()))
        return Staircase.of(accuracy, self._cost(costs), reference=reference, end=end)

    def _cost(self, costs: Costs) -> np.ndarray:
        return costs.get(self.objective.of).astype(np.float64)

    def _ordered(self, accuracy: np.ndarray, costs: Costs) -> np.ndarray:
        """Return the rows [n] of evaluated networks, the nearest to the front first."""
        cost = self._cost(costs)
        lowest = float(accuracy.min())
        front = Staircase.of(accuracy, cost, reference=lowest, end=float(cost.max()))
        return np.argsort(front.at(cost) - accuracy, kind="stable")

    def _first(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return random networks, spread evenly over the costs of four times as many draws."""
        if self.pool is None:
            draws = sample_fresh(history, 4 * count, rng)
        else:
            draws = rng.permutation(fresh(self.pool, history))[: 4 * count]
        order = np.argsort(self._cost(history.space.costs(draws)), kind="stable")
        places = np.linspace(0, len(draws) - 1, min(count, len(draws))).round().astype(int)
        return draws[order[places]] if count > 1 else draws[:1]
