"""The protocol of search strategies, and functions that draw new feasible genotypes.

A new genotype is one that is not in the history. A feasible one is within all limits of the
objective.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from nas.history import History
from nas.objective import Objective
from search_spaces.cost import Costs
from search_spaces.space import SearchSpace

State = Any
Step = Callable[[State, History, int, int], State]


class Strategy(Protocol):
    """A search strategy, which proposes the networks to evaluate next.

    A strategy is stateless: proposals depend on the history and the generator only, so a search
    is resumed by loading its history. A strategy may cache what it computed from the history.
    """

    @property
    def generation(self) -> int:
        """Number of proposals per call if evaluations are cheap."""

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""


def admitted(
    genotypes: np.ndarray, history: History, *, taken: np.ndarray | None = None
) -> tuple[np.ndarray, Costs]:
    """Return the new feasible genotypes among `genotypes`, and their costs.

    Duplicates and the genotypes in `taken` are removed; the order is kept.
    """
    space = history.space
    keys = space.keys(genotypes)
    earlier = space.keys(genotypes[:0] if taken is None else taken)
    first = first_of_each(np.concatenate([earlier, keys]))[len(earlier) :]
    rows = np.flatnonzero(first)
    genotypes = genotypes[rows[~history.contains_keys(keys[rows])]]
    costs = space.costs(genotypes)
    feasible = history.objective.feasible(costs)
    return genotypes[feasible], costs[feasible]


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """Return a mask, bool [n], of the first occurrence of each value of keys [n]."""
    order = np.argsort(keys)  # faster than a stable sort; duplicates are few
    ordered = keys[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(keys)])
    first = np.zeros(len(keys), bool)
    if len(keys):
        first[np.minimum.reduceat(order, starts)] = True
    return first


def fresh(
    genotypes: np.ndarray, history: History, *, taken: np.ndarray | None = None
) -> np.ndarray:
    """Return the new feasible genotypes among `genotypes`, int8 [k, decisions]; see `admitted`."""
    return admitted(genotypes, history, taken=taken)[0]


def sample_fresh(
    history: History, count: int, rng: np.random.Generator, *, patience: int = 30
) -> np.ndarray:
    """Return up to `count` new random feasible genotypes, int8 [k, decisions].

    If at least 1 in 20 networks is feasible, the draws are uniform. Otherwise, random walks start
    at the networks of the history, or at uniform draws if the history is empty. A walk never
    increases the violation of the limits. Feasible networks are collected after every 20 mutations.
    After `patience` rounds without a new network or a smaller violation, the genotypes found so far
    are returned. The search therefore ends if the space is exhausted or has no feasible network.
    """
    space, objective = history.space, history.objective
    found = np.empty((0, len(space.choices)), np.int8)
    walkers = space.sample(max(2 * count, 64), rng)
    violation = objective.violation(space.costs(walkers))
    narrow = (violation == 0).mean() < 0.05
    if narrow and len(history):
        walkers = history.genotypes[rng.integers(0, len(history), len(walkers))]
        violation = objective.violation(space.costs(walkers))
    idle = 0
    while idle < patience:
        harvest = fresh(walkers, history, taken=found)
        found = np.concatenate([found, harvest])
        if len(found) >= count:
            break
        before = violation.sum()
        if narrow:
            walkers, violation = _walk(walkers, violation, history, rng, steps=20)
        else:
            walkers = space.sample(len(walkers), rng)
        idle = 0 if len(harvest) or violation.sum() < before else idle + 1
    return found[:count]


def _walk(
    walkers: np.ndarray,
    violation: np.ndarray,
    history: History,
    rng: np.random.Generator,
    *,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return genotypes and violations after random mutations that never raise a violation."""
    for _ in range(steps):
        moved = history.space.mutate(walkers, rng)
        after = history.objective.violation(history.space.costs(moved))
        taken = after <= violation
        walkers = np.where(taken[:, None], moved, walkers)
        violation = np.where(taken, after, violation)
    return walkers, violation


def feasible_share(
    space: SearchSpace, objective: Objective, rng: np.random.Generator, *, draws: int = 10_000
) -> float:
    """Estimate the share of the space's networks within the limits from uniform draws."""
    return float(objective.feasible(space.costs(space.sample(draws, rng))).mean())


def fresh_mutants(
    parents: np.ndarray, history: History, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return up to `count` new feasible mutants of parents [p, decisions], int8 [k, decisions].

    The parents are ordered by preference. There should be more than `count` of them, because some
    mutants are infeasible or already in the history. If too few mutants are left, they are mutated
    again, up to four mutations in all.
    """
    mutants = parents
    found = np.empty((0, parents.shape[1]), np.int8)
    for _ in range(4):
        mutants = history.space.mutate(mutants, rng)
        found = np.concatenate([found, fresh(mutants, history, taken=found)])
        if len(found) >= count:
            break
    return found[:count]


class Replay:
    """The state of a strategy, computed from a history in chunks.

    A strategy with state (a population, a controller's weights) remains a function of the history
    by defining `step(state, history, start, stop) -> state` for the rows `start` to `stop`, a chunk
    of `chunk` rows. The last state of each history is cached, so that a call only processes the
    new chunks.
    """

    def __init__(self, start: Callable[[History], State], step: Step, chunk: int) -> None:
        self._start, self._step, self._chunk = start, step, chunk
        self._memo: weakref.WeakKeyDictionary[History, tuple[int, int, Any]] = (
            weakref.WeakKeyDictionary()
        )

    def __call__(self, history: History) -> Any:
        """Return the state after all complete chunks of the history."""
        revision, done, state = self._memo.get(history) or (-1, 0, None)
        if revision != history.revision:  # rewards of old rows changed: start again
            done, state = 0, self._start(history)
        for stop in range(done + self._chunk, len(history) + 1, self._chunk):
            state = self._step(state, history, stop - self._chunk, stop)
            done = stop
        self._memo[history] = (history.revision, done, state)
        return state
