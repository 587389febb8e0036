"""A space and evaluators small enough to know the answer."""

from __future__ import annotations

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator
from nas.objective import Objective
from search_spaces.catalog import space
from search_spaces.cost import Cost
from search_spaces.space import SearchSpace

TARGET = Objective(400e6, "feasible")


class Synthetic(Evaluator):
    """Deterministic accuracies: a smooth part by FLOPs, a fixed preference for each option."""

    name = "synthetic"

    def __init__(self, *, cheap: bool = False) -> None:
        self.cheap = cheap
        self.calls = 0

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        self.calls += 1
        taste = np.random.default_rng(7).normal(size=(len(space.choices), 16))
        liked = taste[np.arange(len(space.choices)), genotypes].sum(1)
        accuracy = 40 + 5 * np.log(space.costs(genotypes).flops / 1e6) + liked
        count = len(genotypes)
        return Evaluations(accuracy, np.full(count, 0.1), np.zeros(count))


def tiny_space() -> SearchSpace:
    """24 networks that are plain tuples, with a cost function of their own."""
    return SearchSpace(
        "tiny", {"width": (8, 16, 32, 64), "depth": (1, 2, 3), "kind": ("a", "b")},
        lambda choices: tuple(choices.values()),
        cost=lambda network: Cost(flops=network[0] * network[1] * 10**6),
    )  # fmt: skip


def b0_space() -> SearchSpace:
    return space("efficientnet")
