"""What every strategy is, and how feasible new genotypes are drawn."""

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
    """Proposes what to evaluate next.

    Stateless: a proposal is a function of the history and the generator, so that a search is
    resumed by loading its history. Whatever a strategy remembers between calls only saves work.
    """

    @property
    def generation(self) -> int:
        """How many proposals it likes to make at once where evaluations cost nothing."""

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """At most `count` genotypes, int8 [k, decisions], feasible and not in the history."""


def admitted(
    genotypes: np.ndarray, history: History, *, taken: np.ndarray | None = None
) -> tuple[np.ndarray, Costs]:
    """The genotypes that are feasible, not in the history, not in `taken`, each once, in order.

    With their costs, which the limits need anyway.
    """
    space = history.space
    keys = space.keys(genotypes)
    first = first_of_each(keys)
    if taken is not None and len(taken):
        first &= ~np.isin(keys, space.keys(taken))
    genotypes = genotypes[first]
    genotypes = genotypes[~history.contains(genotypes)]
    costs = space.costs(genotypes)
    feasible = history.objective.feasible(costs)
    return genotypes[feasible], costs[feasible]


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """Which of the keys [n] are the first of their value, bool [n]."""
    order = np.argsort(keys)  # faster than a stable sort; repeats are few
    ordered = keys[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(keys)])
    first = np.zeros(len(keys), bool)
    if len(keys):
        first[np.minimum.reduceat(order, starts)] = True
    return first


def fresh(
    genotypes: np.ndarray, history: History, *, taken: np.ndarray | None = None
) -> np.ndarray:
    """The genotypes that `admitted` lets through, int8 [k, decisions]."""
    return admitted(genotypes, history, taken=taken)[0]


def sample_fresh(
    history: History, count: int, rng: np.random.Generator, *, patience: int = 30
) -> np.ndarray:
    """Up to `count` random feasible genotypes that are not in the history, int8 [k, decisions].

    Uniform draws where at least 1 in 20 keeps the limits. Elsewhere the draws (or, once there
    is a history, its networks) walk at random without ever getting further from the limits, 20
    mutations between one harvest and the next. After `patience` rounds without a new network or
    progress towards the limits it returns what it has: a space that is exhausted, or has
    nothing feasible, ends a search instead of hanging it.
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
    """Genotypes [n, decisions] after random mutations that never raise their violation [n]."""
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
    """Share of the space's networks within the limits, from uniform draws."""
    return float(objective.feasible(space.costs(space.sample(draws, rng))).mean())


def fresh_mutants(
    parents: np.ndarray, history: History, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Up to `count` feasible mutants of the parents [p, decisions] not in the history.

    Parents come in order of preference and should outnumber `count`, as some mutants are known
    or infeasible; where too few are left, the mutants mutate on, up to four steps away.
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
    """Folds a history into the state of a strategy, chunk by chunk.

    A strategy with a memory (a population, a controller's weights) stays a function of the
    history by defining `step(state, history, start, stop) -> state` over chunks of `chunk` rows.
    The last state of the last few histories is kept, so that each call only folds what is new.
    """

    def __init__(self, start: Callable[[History], State], step: Step, chunk: int) -> None:
        self._start, self._step, self._chunk = start, step, chunk
        self._memo: weakref.WeakKeyDictionary[History, tuple[int, int, Any]] = (
            weakref.WeakKeyDictionary()
        )

    def __call__(self, history: History) -> Any:
        """The state after all complete chunks of the history."""
        revision, done, state = self._memo.get(history) or (-1, 0, None)
        if revision != history.revision:  # rewards were revised: from the beginning
            done, state = 0, self._start(history)
        for stop in range(done + self._chunk, len(history) + 1, self._chunk):
            state = self._step(state, history, stop - self._chunk, stop)
            done = stop
        self._memo[history] = (history.revision, done, state)
        return state
