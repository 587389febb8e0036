"""What every strategy is, and how feasible new genotypes are drawn."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from nas.history import History
from nas.objective import Objective
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


def fresh(
    genotypes: np.ndarray, history: History, *, taken: np.ndarray | None = None
) -> np.ndarray:
    """The genotypes that are feasible, not in the history, not in `taken`, each once, in order."""
    space = history.space
    keys = space.keys(genotypes)
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    if taken is not None and len(taken):
        first &= ~np.isin(keys, space.keys(taken))
    genotypes = genotypes[first]
    genotypes = genotypes[~history.contains(genotypes)]
    return genotypes[history.objective.feasible(space.costs(genotypes))]


def sample_fresh(
    history: History, count: int, rng: np.random.Generator, *, rounds: int = 50
) -> np.ndarray:
    """Up to `count` random feasible genotypes that are not in the history, int8 [k, decisions].

    Draws uniformly first; where the limits leave too few of those, the draws nearest to them
    walk on by mutations that lower the violation. After `rounds` it returns what it has, so a
    space that is exhausted or has nothing feasible ends the loop instead of hanging it.
    """
    space, objective = history.space, history.objective
    found = np.empty((0, len(space.choices)), np.int8)
    draw = max(2 * count, 64)
    walkers = space.sample(draw, rng)
    for _ in range(rounds):
        found = np.concatenate([found, fresh(walkers, history, taken=found)])
        if len(found) >= count:
            break
        costs = space.costs(walkers)
        violation = objective.violation(costs)
        if (violation == 0).mean() > 0.05:  # plenty are feasible: keep the draws independent
            walkers = space.sample(draw, rng)
            continue
        moved = space.mutate(walkers, rng)
        # a feasible walker wanders freely inside the limits; the others only move towards them
        better = objective.violation(space.costs(moved)) <= violation
        walkers = np.where(better[:, None], moved, walkers)
    return found[:count]


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
        self._memo: weakref.WeakKeyDictionary[History, tuple[int, Any]] = (
            weakref.WeakKeyDictionary()
        )

    def __call__(self, history: History) -> Any:
        """The state after all complete chunks of the history."""
        done, state = self._memo.get(history) or (0, self._start(history))
        for stop in range(done + self._chunk, len(history) + 1, self._chunk):
            state = self._step(state, history, stop - self._chunk, stop)
            done = stop
        self._memo[history] = (done, state)
        return state
