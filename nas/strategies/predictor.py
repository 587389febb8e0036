"""Bayesian optimisation: a model of the history proposes what it expects, or hopes, to be best.

Batches come from tempered Thompson sampling (Thompson 1933; Kandasamy et al. 2018 for batches):
each proposal is the best network within the limits under its own draw from the posterior, found
by a small evolution on the model as in BANANAS (White et al. 2021). Draws shrunk towards the mean
exploit more, which pays at the small budgets that are the point of this strategy; one batch holds
all degrees, so that nothing needs to know the budget.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nas.history import History
from nas.objective import Objective
from nas.strategies.base import fresh, sample_fresh
from nas.strategies.bayes import Basis, fit_prior, make_basis, posterior_weights
from search_spaces.space import SearchSpace

Prior = tuple[float, float, np.ndarray, float]  # center, spread, deviations [f], noise


@dataclass(frozen=True)
class Predictor:
    """Proposes the optima of posterior samples of a Bayesian quadratic model (`bayes`).

    start        successful evaluations before the model is asked; until then, large networks.
    temperature  deviations of a sample from the mean are scaled by 0 to this over a batch.
    rows         the model is fitted to that many best networks; more say little about the top.
    learn        its prior variances are learned from that many first ones, then stay.
    elites, children, rounds  of the evolution that maximises each sample.
    """

    space: SearchSpace
    objective: Objective
    start: int = 12
    temperature: float = 0.5
    rows: int = 300
    learn: int = 200
    elites: int = 5
    children: int = 16
    rounds: int = 16
    generation: int = 8
    _priors: weakref.WeakKeyDictionary[History, tuple[int, Prior]] = field(
        default_factory=weakref.WeakKeyDictionary, init=False, repr=False, compare=False
    )

    @cached_property
    def _basis(self) -> Basis:
        return make_basis(self.space)

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """At most `count` new feasible genotypes, int8 [k, decisions]."""
        known = np.flatnonzero(np.isfinite(history.accuracy))
        if len(known) < self.start:
            return self._first(history, count, rng)
        best = known[np.argsort(-history.reward[known], kind="stable")][: self.rows]
        weights = self._sample(history, known[: self.learn], best, count, rng)
        ranked = self._maxima(history.genotypes[best], weights, history, rng).swapaxes(0, 1)
        # the best of every sample, then the second best where those are too few
        found = fresh(ranked.reshape(-1, ranked.shape[2]), history)[:count]
        return found if len(found) else sample_fresh(history, count, rng)

    def _first(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random networks, the largest of four times as many: the best ones use their budget."""
        draws = sample_fresh(history, 4 * count, rng)
        return draws[np.argsort(-history.space.costs(draws).flops, kind="stable")][:count]

    def _sample(
        self,
        history: History,
        early: np.ndarray,
        best: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Models [count, u, u] of the accuracy drawn around what the `best` rows taught.

        One from each of `count` equal ranges of temperature, the coldest first.
        """
        center, spread, deviation, noise = self._prior(history, early)
        targets = (history.accuracy[best] - center) / spread
        features = self._features(history, best)
        heat = self.temperature * (np.arange(count) + rng.random(count)) / count
        weights = posterior_weights(features, targets, deviation, noise, heat, rng)
        models = self._basis.collapse(spread * weights)
        models[:, 0, 0] += center
        return models

    def _prior(self, history: History, early: np.ndarray) -> Prior:
        """Center and spread of the accuracies, and the model's prior, from the `early` rows."""
        if (memo := self._priors.get(history)) and memo[0] == len(early):
            return memo[1]
        accuracy = history.accuracy[early]
        center, spread = accuracy.mean(), max(accuracy.std(), 1e-9)
        features = self._features(history, early)
        prior = (center, spread, *fit_prior(self._basis, features, (accuracy - center) / spread))
        self._priors[history] = (len(early), prior)
        return prior

    def _features(self, history: History, rows: np.ndarray) -> np.ndarray:
        described = self._basis.describe(history.genotypes[rows], history.costs[rows])
        return self._basis.features(described)

    def _maxima(
        self, tried: np.ndarray, weights: np.ndarray, history: History, rng: np.random.Generator
    ) -> np.ndarray:
        """The elites [samples, elites, decisions] of an evolution on each sample, best first."""
        pool = np.concatenate([tried[:30], sample_fresh(history, 100, rng)])
        pool = np.broadcast_to(pool, (len(weights), *pool.shape))
        elites, rewards = self._select(pool, self._rewards(pool, weights))
        for _ in range(self.rounds):
            children = self._vary(elites, rng)
            both = np.concatenate([elites, children], axis=1)
            values = np.concatenate([rewards, self._rewards(children, weights)], axis=1)
            elites, rewards = self._select(both, values)
        return elites

    def _rewards(self, genotypes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Rewards [samples, m] of genotypes [samples, m, decisions]; -inf outside the limits."""
        flat = genotypes.reshape(-1, genotypes.shape[2])
        costs = self.space.costs(flat)
        described = self._basis.describe(flat, costs).reshape(*genotypes.shape[:2], -1)
        accuracy = ((described @ weights) * described).sum(2).ravel().astype(np.float64)
        rewards = self.objective.reward(accuracy, costs)
        allowed = self.objective.feasible(costs)
        return np.where(allowed, rewards, -np.inf).reshape(genotypes.shape[:2])

    def _select(self, genotypes: np.ndarray, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The `elites` best distinct genotypes of each sample with their rewards."""
        keys = self.space.keys(genotypes.reshape(-1, genotypes.shape[2])).reshape(rewards.shape)
        order = np.argsort(keys, axis=1)
        keys = np.take_along_axis(keys, order, 1)
        rewards = np.take_along_axis(rewards, order, 1)
        rewards[:, 1:][keys[:, 1:] == keys[:, :-1]] = -np.inf
        best = np.argsort(-rewards, axis=1)[:, : self.elites]
        rows = np.arange(len(order))[:, None]
        return genotypes[rows, order[rows, best]], rewards[rows, best]

    def _vary(self, elites: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Children [samples, children, decisions]: some crossed, then one to a few mutations."""
        samples, count, decisions = elites.shape
        shape = (samples, self.children, decisions)
        chance = rng.random((3, *shape), dtype=np.float32)
        rows = np.arange(samples)[:, None]
        mothers, fathers = elites[rows, rng.integers(0, count, (2, *shape[:2]))]
        crossed = rng.random((*shape[:2], 1)) < 0.3
        children = np.where(crossed & (chance[0] < 0.5), fathers, mothers)
        rate = rng.choice([1.2, 2.0, 3.0], (*shape[:2], 1)) / decisions
        options = self.space.option_counts.astype(np.int16)
        step = 1 + (chance[1] * (options - 1)).astype(np.int16)
        changed = (chance[2] < rate) & (options > 1)
        children = np.where(changed, (children + step) % options, children).astype(np.int8)
        return self.space.canonical(children.reshape(-1, decisions)).reshape(shape)
