"""First networks of searches from pretrained weights, and lengths of their fine-tuning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nas.evaluators.base import Evaluations
from nas.history import History
from nas.objective import Objective
from nas.parents.finalists import LONGEST, epochs_of
from nas.parents.starting import MOST, NEAR, Starting, starting_genotypes
from nas.strategies.base import sample_fresh
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.parent import parent_space

PARENT = dataclasses.replace(zoo("tf_efficientnet_lite0"), resolution=96, classes=10)
SPACE = parent_space(PARENT)


class Chance:
    """A strategy that draws at random."""

    generation = 7

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        return sample_fresh(history, count, rng)


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_starts_are_near_the_target_within_the_limits_and_differ(share: float) -> None:
    objective = Objective(share * cost(PARENT).flops, "feasible")
    found = starting_genotypes(SPACE, objective)
    assert 3 < len(found) <= MOST
    assert len(np.unique(found, axis=0)) == len(found)
    flops = [cost(SPACE.decode(genotype)).flops for genotype in found]
    assert flops == sorted(flops, reverse=True)
    assert NEAR * objective.target <= min(flops) <= max(flops) <= objective.target
    assert len({SPACE.decode(genotype).resolution for genotype in found}) > 3


def test_other_limits_hold() -> None:
    objective = Objective(0.25 * cost(PARENT).flops, "feasible", limits=(("params", 1e6),))
    found = starting_genotypes(SPACE, objective)
    assert len(found)
    assert all(cost(SPACE.decode(genotype)).params <= 1e6 for genotype in found)


def test_nothing_to_start_from_is_no_error() -> None:
    least = SPACE.cost_range("flops")[0]
    objective = Objective(least / 2, "feasible")
    assert starting_genotypes(SPACE, objective).shape == (0, len(SPACE.choices))


def test_they_are_proposed_first_and_once() -> None:
    objective = Objective(0.25 * cost(PARENT).flops, "feasible")
    history, rng = History(SPACE, objective), np.random.default_rng(0)
    strategy, wanted = Starting(Chance()), starting_genotypes(SPACE, objective)
    proposed: list[np.ndarray] = []
    while sum(map(len, proposed)) < len(wanted):
        some = strategy.propose(history, 5, rng)
        proposed.append(some)
        level = np.full(len(some), 50.0)
        answers = Evaluations(level, level, level)
        history.extend(some, answers, SPACE.costs(some))
    assert (np.concatenate(proposed) == wanted).all()
    later = strategy.propose(history, 5, rng)
    assert len(later) == 5
    assert not history.contains(later).any()
    assert strategy.generation == 7


@pytest.mark.parametrize(("side", "epochs"), [(96, 6), (64, 13), (32, 24)])
def test_networks_are_trained_for_the_multiply_adds_of_the_parent(side: int, epochs: int) -> None:
    network = dataclasses.replace(PARENT, resolution=side)
    assert epochs_of(6, cost(network).flops / cost(PARENT).flops) == epochs
    assert epochs <= 6 * LONGEST
