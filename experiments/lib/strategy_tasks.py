"""The tasks of `experiments.compare_strategies`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.lib.device_data import FILE
from nas.devices import load_device
from nas.evaluators.base import Evaluations, Evaluator, Measured
from nas.evaluators.surrogate import Surrogate, load_surrogate
from nas.evaluators.table import TableEvaluator, read_table
from nas.objective import Objective
from nas.search.device_costs import DeviceCost
from search_spaces.catalog import space
from search_spaces.space import SearchSpace

BUDGETS = (50, 80, 100, 150, 300, 1000)
MARKS = BUDGETS[:-1]  # of the tasks that peers also run
FRONT_MARKS = (50, 100, 300)
NOISE = 0.2  # points; the 13 networks measured twice differ by 0.20 on average
REFERENCE = (55.0, 400e6)  # accuracy and FLOPs a front must beat to add hypervolume
DEVICE = ("a100", "throughput")  # at least that of EfficientNet-B0


class Oracle(Evaluator):
    """The surrogate's mean plus noise that depends on the network and the seed only."""

    name = "oracle"

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        self.surrogate, self.seed = surrogate, seed

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Return noisy accuracies of genotypes int8 [n, decisions]."""
        mean, _ = self.surrogate.predict(genotypes)
        noise = [
            np.random.default_rng([self.seed, int(key)]).normal() for key in space.keys(genotypes)
        ]
        count = len(genotypes)
        return Evaluations(mean + NOISE * np.array(noise), np.full(count, NOISE), np.zeros(count))


def oracle_digest() -> str:
    """Return 12 hex digits of the noise-free accuracies of 1,000 networks, which identify them."""
    return str(task_of("flops").settings()["oracle"])


class Task(NamedTuple):
    """A problem for all strategies.

    objective  with the limit; reference is the accuracy from which a front counts.
    marks      evaluations after which the state of a search is recorded.
    front      whether the whole front is searched, not the best network within the limit.
    make       function from a seed to the evaluator.
    truth      function from genotypes int8 [n, decisions] to noise-free accuracies [n].
    """

    space: SearchSpace
    objective: Objective
    marks: tuple[int, ...]
    front: bool
    make: Callable[[int], Evaluator]
    truth: Callable[[np.ndarray], np.ndarray]

    @property
    def pool(self) -> np.ndarray | None:
        """Networks that may be proposed, int8 [m, decisions]; None: all of the space."""
        evaluator = self.make(0)
        return evaluator.measured.genotypes if evaluator.measured is not None else None

    def settings(self) -> dict[str, Any]:
        """Return everything that determines a run, as plain data: equal settings, equal runs."""
        pool = self.pool
        rng = np.random.default_rng(0)
        probe = self.space.sample(1000, rng) if pool is None else pool
        truth = np.round(self.truth(probe), 3)
        return {
            "of": self.objective.of,
            "limit": self.objective.target,
            "reward": self.objective.reward_name,
            "noise": NOISE if pool is None else 0.0,
            "networks": None if pool is None else len(pool),
            "marks": list(self.marks),
            "oracle": hashlib.sha256(truth.tobytes()).hexdigest()[:12],
        }


def flops() -> Task:
    """Return the task flops: the surrogate within 400M FLOPs."""
    return _surrogate(space("efficientnet"), Objective(REFERENCE[1], "feasible"), BUDGETS)


def device() -> Task:
    """Return the task device: the surrogate, at least as fast on an A100 as EfficientNet-B0."""
    plain = space("efficientnet")
    cost = DeviceCost(load_device(DEVICE[0]), DEVICE[1], plain)
    limit = float(cost(plain.encode(plain.references["EfficientNet-B0"])[None])[0])
    measured = plain.measured_by(**{cost.name: cost})
    return _surrogate(measured, Objective(limit, "feasible", of=cost.name), MARKS)


def table() -> Task:
    """Return the task table: two thirds of the real trainings, within 400M FLOPs.

    No other networks may be proposed. Strategies may be developed on the other third.
    """
    networks = space("efficientnet")
    every = read_table(FILE, networks, column="val_top1")
    measured = every.measured
    assert measured is not None
    # divided by the networks' keys, so that the order of the file does not matter
    order = np.random.default_rng(0).permutation(np.argsort(networks.keys(measured.genotypes)))
    third = len(order) // 3
    rows = np.sort(order[third:])
    chosen = Measured(measured.genotypes[rows], measured.accuracy[rows])
    evaluator = TableEvaluator(networks, chosen, np.full(len(rows), NOISE))

    def truth(genotypes: np.ndarray) -> np.ndarray:
        return evaluator.evaluate(networks, genotypes).accuracy

    return Task(
        networks,
        Objective(REFERENCE[1], "feasible"),
        MARKS,
        False,
        lambda seed: evaluator,
        truth,
    )


def front() -> Task:
    """Return the task front: the whole front of the surrogate's accuracy and FLOPs, within 400M."""
    plain = _surrogate(space("efficientnet"), Objective(REFERENCE[1], "feasible"), FRONT_MARKS)
    return plain._replace(front=True)


TASKS: dict[str, Callable[[], Task]] = {
    "flops": flops,
    "device": device,
    "table": table,
    "front": front,
}


@functools.cache
def task_of(name: str) -> Task:
    """Return the task of that name, created once."""
    return TASKS[name]()


def _surrogate(networks: SearchSpace, objective: Objective, marks: tuple[int, ...]) -> Task:
    surrogate = load_surrogate("imagenet")
    return Task(
        networks,
        objective,
        marks,
        False,
        lambda seed: Oracle(surrogate, seed),
        lambda genotypes: surrogate.predict(genotypes)[0],
    )
