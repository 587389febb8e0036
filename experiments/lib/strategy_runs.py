"""A run of a strategy on a task, for `experiments.compare_strategies`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from experiments.lib.peer_environments import FRONT_PEERS, PEERS
from experiments.lib.peer_process import PeerFailed, PeerStrategy, description, start_peer
from experiments.lib.strategy_tasks import REFERENCE, Task, task_of
from nas import catalog
from nas.history import History
from nas.objective import pareto_front
from nas.search.loop import LoopOptions, search
from nas.strategies.base import Strategy
from nas.strategies.predictor import Predictor

LONGEST = {"optuna:gp": 300, "optuna:tpe": 300}  # more would take over ten minutes
PEERS_LONGEST = 300
TOGETHER = {"predictor": 8, "predictor-front": 8}  # networks of a proposal; 1 for all others
NEAREST = ":nearest"  # a predictor that does not know the table, like the peers


class Timed:
    """A strategy that records the time of its proposals."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy, self.generation = strategy, strategy.generation
        self.seconds = 0.0
        self.calls: list[tuple[int, float]] = []  # rows of the history, milliseconds per network

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return the proposal of the strategy."""
        start = time.perf_counter()
        proposals = self.strategy.propose(history, count, rng)
        elapsed = 1e3 * (time.perf_counter() - start)
        self.calls.append((len(history), elapsed / max(len(proposals), 1)))
        self.seconds += elapsed / 1e3
        return proposals

    def milliseconds(self, known: int) -> float:
        """Return the median time of a proposal in the last tenth before `known` rows."""
        last = [each for rows, each in self.calls if 0.9 * known - 8 <= rows < known]
        return round(float(np.median(last)), 3)


def make(name: str, task: Task, seed: int, stack: ExitStack) -> Strategy:
    """Return a strategy of this project, "optuna:SAMPLER", or a peer, which ends with the stack.

    The predictor chooses among the networks of a task's table; "predictor:nearest" does not know
    the table.
    """
    if name in PEERS or name in FRONT_PEERS:
        reference = (REFERENCE[0], 1.0)
        first = description(task.space, seed, front=task.front, reference=reference)
        process = stack.enter_context(start_peer(name, first))
        return PeerStrategy(process, front=task.front)
    if name.startswith("optuna:"):
        from nas.strategies.optuna_sampler import OptunaSampler

        return OptunaSampler(name.removeprefix("optuna:"))
    if name == "predictor" and task.pool is not None:
        return Predictor(task.space, task.objective, pool=task.pool)
    return catalog.strategy(name.removesuffix(NEAREST), task.space, task.objective)


def run(task_name: str, name: str, seed: int) -> dict[str, Any]:
    """Run one search; return its results after each of the task's marks.

    If a peer ends or hangs, the result is that of a failed run, with the reason and the results at
    the marks that were reached.
    """
    task = task_of(task_name)
    longest = task.marks[-1]
    if name in PEERS or name in FRONT_PEERS:
        longest = min(longest, PEERS_LONGEST)
    history = History(task.space, task.objective)
    failed, started = "", time.perf_counter()
    with ExitStack() as stack:
        strategy = Timed(make(name, task, seed, stack))
        options = LoopOptions(
            seed=seed, workers=TOGETHER.get(name.removesuffix(NEAREST), 1), history=history
        )
        try:
            search(
                task.space,
                task.make(seed),
                task.objective,
                strategy,
                min(longest, LONGEST.get(name, longest)),
                options,
            )
        except PeerFailed as error:
            failed = f"after {len(history)} evaluations: {error}"
    row = {"task": task_name, "strategy": name, "seed": seed, **figures(task, history, strategy)}
    row["seconds"] = round(time.perf_counter() - started, 1)
    return {**row, "failed": failed} if failed else row


def figures(task: Task, history: History, strategy: Timed) -> dict[str, Any]:
    """Return accuracy, hypervolume and milliseconds of a proposal at each mark that was reached."""
    marks = [mark for mark in task.marks if mark <= len(history)]
    truth = task.truth(history.genotypes) if len(history) else np.empty(0)
    cost = history.costs.get(task.objective.of).astype(np.float64)
    reference = (REFERENCE[0], task.objective.target)
    return {
        "accuracy": {n: round(best_of_five(history.accuracy[:n], truth[:n]), 4) for n in marks},
        "hypervolume": {
            n: float(f"{hypervolume(truth[:n], cost[:n], reference):.5g}") for n in marks
        },
        "milliseconds": {n: strategy.milliseconds(n) for n in marks},
    }


def best_of_five(observed: np.ndarray, truth: np.ndarray) -> float:
    """Return the best noise-free accuracy of the five networks with the highest noisy accuracy.

    It is the result of a search that trains its five best networks again.
    """
    return float(truth[np.argsort(-observed, kind="stable")[:5]].max())


def hypervolume(
    accuracy: np.ndarray, cost: np.ndarray, reference: tuple[float, float] = REFERENCE
) -> float:
    """Return the area between the front and the reference point.

    The unit is points x G FLOPs, or points x seconds for a cost that is a time.
    """
    front = pareto_front(accuracy, cost)
    front = front[(accuracy[front] > reference[0]) & (cost[front] <= reference[1])]
    ends = np.append(cost[front][1:], reference[1])
    unit = 1e9 if reference[1] > 1e3 else 1.0
    return float(((ends - cost[front]) / unit * (accuracy[front] - reference[0])).sum())
