"""Test helper: small spaces, networks, tables and evaluators with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.block_times.table import Times, block_names
from nas.evaluators.base import Evaluations, Evaluator
from nas.objective import Objective
from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import space
from search_spaces.cost import Cost
from search_spaces.space import SearchSpace

TARGET = Objective(400e6, "feasible")


class Synthetic(Evaluator):
    """Deterministic accuracies: a smooth function of FLOPs and a fixed preference per option."""

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
    """Return a space of 24 networks, which are plain tuples, with its own cost function."""
    return SearchSpace(
        "tiny",
        {"width": (8, 16, 32, 64), "depth": (1, 2, 3), "kind": ("a", "b")},
        lambda choices: tuple(choices.values()),
        cost=lambda network: Cost(flops=network[0] * network[1] * 10**6),
    )


def b0_space() -> SearchSpace:
    return space("efficientnet")


def made_up(the_space: SearchSpace, kind: str = "latency", **fields: object) -> Times:
    """Return a table of random times for every block of a space."""
    rng = np.random.default_rng(0)
    blocks = {name: (float(rng.uniform(1e-4, 1e-2)), 1e-5) for name in block_names(the_space)}
    return Times(kind, blocks, **fields)


def small_space(**changes: Any) -> Any:
    """Return the compact space for small images of few classes."""
    settings = {"resolution": 16, "classes": 3, "width": 0.5, "small_images": True} | changes
    return space("compact", **settings)


def small(**changes: Any) -> Architecture:
    """Return an architecture of one stage with two layers, with changes."""
    stage = {"op": "mbconv", "layers": 2, "kernel": 3, "stride": 1, "expand": 2, "channels": 8}
    frame_of = {"stem": 8, "head": 16, "resolution": 16, "classes": 3}
    frame_of |= {name: changes.pop(name) for name in list(changes) if name in frame_of}
    return Architecture(stages=(Stage(**(stage | changes)),), **frame_of)
