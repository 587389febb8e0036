"""Bayesian optimisation with a quadratic model of the accuracy, which is defined in `bayes`.

Batches come from tempered Thompson sampling (Thompson 1933; Kandasamy et al. 2018 for batches):
each proposal is the best network within the limits under a separate draw from the posterior, found
by a small evolution on the model as in BANANAS (White et al. 2021). Draws that are shrunk towards
the posterior mean exploit more, which helps with the small budgets that this strategy is made for.
A batch contains draws with different degrees of shrinkage, so the strategy need not know the
budget.

Evaluations that were stopped early count with their extrapolated accuracy and its variance
(`observations`). Pending evaluations count as if they had ended with the expected accuracy: the
mean does not change, and the draws vary less near them (Desautels, Krause and Burdick 2014), so
that many workers do not receive similar networks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from nas.history import History
from nas.objective import Objective
from nas.strategies.base import fresh, sample_fresh
from nas.strategies.bayes import Basis, fit_prior, make_basis, mean_weights, posterior_weights
from nas.strategies.cheap_scores import Memorised, Scale, Scores, explained_share
from nas.strategies.observations import observations
from search_spaces.cost import Costs
from search_spaces.space import SearchSpace

Rewards = Callable[[np.ndarray], np.ndarray]  # int8 [samples, m, decisions] -> [samples, m]

RELEARN = 4  # evaluations between two fits of the prior, which is the slowest part of a proposal


class Prior(NamedTuple):
    """The prior of the model.

    center     mean of the accuracies, in percent.
    spread     standard deviation of the accuracies, in points.
    deviation  [f], prior standard deviation of every weight, in units of the spread.
    noise      variance of the noise, in units of the squared spread.
    """

    center: float
    spread: float
    deviation: np.ndarray
    noise: float


class Data(NamedTuple):
    """The data that the model is fitted to: evaluated networks, best first, then failed, pending.

    genotypes  [n, decisions].
    features   [n, f].
    targets    [n], standardised accuracies.
    variance   [n], their variances.
    known      number of evaluated networks.
    """

    genotypes: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    variance: np.ndarray
    known: int


@dataclass(frozen=True)
class Predictor:
    """A strategy that proposes the optima of posterior samples of a Bayesian quadratic model.

    start        evaluations that must have started before the model is used; until then, large
                 random networks are proposed.
    few          evaluations that must have succeeded before the model is used, at least `RELEARN`.
    temperature  largest factor of the deviations of samples from the mean; the factors of a batch
                 range from 0 to this.
    rows         number of best networks, and of last pending networks, that the model is fitted
                 to; worse networks say little about the best ones.
    learn        number of first evaluations from which the prior variances are learned.
    elites, children, rounds  sizes of the evolution that maximises each sample.
    generation   proposals per call if evaluations are cheap.
    pool         candidate genotypes [m, decisions]; None for the whole space.
    scores       function that returns cheap scores of genotypes, or None. Scores are computed for
                 all networks of the history. If they help (`cheap_scores`), they are also computed
                 for the `shortlist` best candidates per proposal, to re-rank these.
    """

    space: SearchSpace
    objective: Objective
    start: int = 12
    few: int = 4
    temperature: float = 0.5
    rows: int = 300
    learn: int = 200
    elites: int = 5
    children: int = 16
    rounds: int = 16
    generation: int = 8
    pool: np.ndarray | None = field(default=None, compare=False)
    scores: Scores | None = None
    shortlist: int = 12
    _priors: weakref.WeakKeyDictionary[History, tuple[int, Prior]] = field(
        default_factory=weakref.WeakKeyDictionary, init=False, repr=False, compare=False
    )

    @cached_property
    def _basis(self) -> Basis:
        return make_basis(self.space)

    @cached_property
    def _scored(self) -> Memorised:
        assert self.scores is not None
        return Memorised(self.space, self.scores)

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
        known = np.flatnonzero(np.isfinite(history.accuracy))
        if len(known) < self.few or len(known) + len(history.pending) < self.start:
            return self._first(history, count, rng)
        early = min(self.learn, len(known) - len(known) % RELEARN)
        prior = self._prior(history, known[:early])
        data = self._data(history, known, prior)
        share = self._explained(data, prior)
        samples = max(count, self.shortlist // 3) if share else count  # for a diverse shortlist
        models = self._models(data, prior, samples, rng)
        rewards_of = partial(self._rewards, models)
        # for large counts, the elites may all be known networks: keep the next best ones too
        keep = self.elites + (self.children if count > self.generation else 0)
        tried = data.genotypes[: data.known]
        ranked = self._maxima(tried, rewards_of, samples, history, rng, keep=keep)
        # first the best network of every sample, then the second best of every sample, and so on
        found = fresh(ranked.swapaxes(0, 1).reshape(-1, ranked.shape[2]), history)
        if share and len(found):
            found = self._reranked(found[: self.shortlist * count], data, prior, share, count, rng)
        if len(found) or self.pool is not None:
            return found[:count]
        return sample_fresh(history, count, rng)

    def _first(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return the largest of four times as many random networks.

        The best networks are usually close to the limit.
        """
        if self.pool is None:
            draws = sample_fresh(history, 4 * count, rng)
        else:
            draws = rng.permutation(fresh(self.pool, history))[: 4 * count]
        return draws[np.argsort(-history.space.costs(draws).flops, kind="stable")][:count]

    def _prior(self, history: History, early: np.ndarray) -> Prior:
        """Return the prior fitted to the `early` rows, cached by their number."""
        if (memo := self._priors.get(history)) and memo[0] == len(early):
            return memo[1]
        seen = observations(history, early)
        center, spread = float(seen.accuracy.mean()), max(float(seen.accuracy.std()), 1e-9)
        features = self._features(history.genotypes[early], history.costs[early])
        targets, extra = (seen.accuracy - center) / spread, seen.variance / spread**2
        prior = Prior(center, spread, *fit_prior(self._basis, features, targets, extra=extra))
        self._priors[history] = (len(early), prior)
        return prior

    def _data(self, history: History, known: np.ndarray, prior: Prior) -> Data:
        """Return the best known rows, then failed and pending networks with assumed accuracies.

        Failed networks count as the least accurate known one (as in SMAC, Hutter et al. 2011), so
        that regions where networks fail are avoided; pending ones have their expected accuracies.
        """
        seen = observations(history, known)
        best = self._ordered(seen.accuracy, history.costs[known])[: self.rows]
        rows, pending = known[best], history.pending[-self.rows :]
        failed = np.flatnonzero(~np.isfinite(history.accuracy))[-self.rows :]
        used = np.append(rows, failed)
        features = self._features(history.genotypes[used], history.costs[used])
        accuracy = np.append(seen.accuracy[best], np.full(len(failed), seen.accuracy.min()))
        targets = (accuracy - prior.center) / prior.spread
        variance = np.full(len(used), prior.noise)
        variance[: len(rows)] += seen.variance[best] / prior.spread**2
        if not len(pending):
            return Data(history.genotypes[used], features, targets, variance, len(rows))
        extra = self._features(pending, self.space.costs(pending))
        mean = mean_weights(features, targets, prior.deviation, variance)
        return Data(
            np.concatenate([history.genotypes[used], pending]),
            np.concatenate([features, extra]),
            np.append(targets, extra @ mean),
            np.append(variance, np.full(len(pending), prior.noise)),
            len(rows),
        )

    def _ordered(self, accuracy: np.ndarray, costs: Costs) -> np.ndarray:
        """Return the rows [n] of evaluated networks, the most important first."""
        return np.argsort(-self.objective.reward(accuracy, costs), kind="stable")

    def _features(self, genotypes: np.ndarray, costs: Costs) -> np.ndarray:
        return self._basis.features(self._basis.describe(genotypes, costs))

    def _weights(
        self, data: Data, prior: Prior, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Return weights [f, count] drawn from the tempered posterior.

        There is one draw from each of `count` equal ranges of temperature, the lowest first.
        """
        heat = self.temperature * (np.arange(count) + rng.random(count)) / count
        return posterior_weights(
            data.features, data.targets, prior.deviation, data.variance, heat, rng
        )

    def _models(self, data: Data, prior: Prior, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return samples of the model, W [count, u, u], with accuracy = u' W u in percent."""
        models = self._basis.collapse(prior.spread * self._weights(data, prior, count, rng))
        models[:, 0, 0] += prior.center
        return models

    def _explained(self, data: Data, prior: Prior) -> float:
        """Return the share of variance that the scores explain; 0.0 if they are not used."""
        if self.scores is None:
            return 0.0
        rows = slice(data.known)
        scores = self._scored(data.genotypes[rows])
        scaled = data.features[rows] * prior.deviation
        covariance = scaled @ scaled.T + np.diag(data.variance[rows])
        return explained_share(covariance, data.targets[rows], Scale.of(scores)(scores))

    def _reranked(
        self,
        shortlist: np.ndarray,
        data: Data,
        prior: Prior,
        share: float,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return the best of the shortlist [m, decisions] under samples of a model with scores."""
        scores = self._scored(np.concatenate([data.genotypes, shortlist]))
        extra = Scale.of(scores[: data.known])(scores)
        known, new = np.split(extra, [len(data.genotypes)])
        wider = data._replace(features=np.concatenate([data.features, known], axis=1))
        deviation = np.append(prior.deviation, np.full(extra.shape[1], share**0.5))
        weights = self._weights(wider, prior._replace(deviation=deviation), count, rng)
        costs = self.space.costs(shortlist)
        features = np.concatenate([self._features(shortlist, costs), new], axis=1)
        chosen: list[int] = []
        for accuracy in (prior.center + prior.spread * features @ weights).T:
            rewards = self.objective.reward(accuracy, costs)
            rewards[chosen] = -np.inf
            chosen.append(int(rewards.argmax()))
        return shortlist[chosen[: len(shortlist)]]

    def _maxima(
        self,
        tried: np.ndarray,
        rewards_of: Rewards,
        samples: int,
        history: History,
        rng: np.random.Generator,
        *,
        keep: int,
    ) -> np.ndarray:
        """Maximise each sample by evolution; return the best networks of the last generation.

        Returns genotypes [samples, keep, decisions], best first.
        """
        if self.pool is not None:
            pool = fresh(self.pool, history)
            pool = np.broadcast_to(pool, (samples, *pool.shape))
            return self._select(pool, rewards_of(pool), keep)[0] if pool.size else pool
        pool = np.concatenate([tried[:30], sample_fresh(history, 100, rng)])
        pool = np.broadcast_to(pool, (samples, *pool.shape))
        elites, rewards = self._select(pool, rewards_of(pool), self.elites)
        for left in reversed(range(self.rounds)):
            children = self._vary(elites, rng)
            both = np.concatenate([elites, children], axis=1)
            values = np.concatenate([rewards, rewards_of(children)], axis=1)
            elites, rewards = self._select(both, values, self.elites if left else keep)
        return elites

    def _rewards(self, models: np.ndarray, genotypes: np.ndarray) -> np.ndarray:
        """Return rewards [samples, m] of genotypes [samples, m, decisions]; -inf if infeasible."""
        accuracy, costs = self._accuracy(models, genotypes)
        rewards = self.objective.reward(accuracy.ravel(), costs)
        allowed = self.objective.feasible(costs)
        return np.where(allowed, rewards, -np.inf).reshape(accuracy.shape)

    def _accuracy(self, models: np.ndarray, genotypes: np.ndarray) -> tuple[np.ndarray, Costs]:
        """Return the accuracies under each sample, and the costs of all genotypes in a row.

        genotypes  [samples, m, decisions].

        Returns float64 [samples, m] and costs of samples * m networks.
        """
        flat = genotypes.reshape(-1, genotypes.shape[2])
        costs = self.space.costs(flat)
        described = self._basis.describe(flat, costs).reshape(*genotypes.shape[:2], -1)
        return ((described @ models) * described).sum(2).astype(np.float64), costs

    def _select(
        self, genotypes: np.ndarray, rewards: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the `count` best distinct genotypes of each sample and their rewards."""
        keys = self.space.keys(genotypes.reshape(-1, genotypes.shape[2])).reshape(rewards.shape)
        order = np.argsort(keys, axis=1)
        keys = np.take_along_axis(keys, order, 1)
        rewards = np.take_along_axis(rewards, order, 1)
        rewards[:, 1:][keys[:, 1:] == keys[:, :-1]] = -np.inf
        best = np.argsort(-rewards, axis=1)[:, :count]
        rows = np.arange(len(order))[:, None]
        return genotypes[rows, order[rows, best]], rewards[rows, best]

    def _vary(self, elites: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return children [samples, children, decisions], by crossover and mutation."""
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
