"""The strategy that proposes along the front of accuracy and cost."""

from __future__ import annotations

import numpy as np
import pytest

from nas import catalog
from nas.evaluators.base import Evaluations
from nas.history import History
from nas.objective import Objective, pareto_front
from nas.search.loop import LoopOptions, search
from nas.strategies.front_predictor import FrontPredictor, Staircase
from nas.strategies.predictor import Predictor
from tests.nas.toys import Synthetic, b0_space

LIMIT = Objective(400e6, "feasible")


def area(accuracy: np.ndarray, cost: np.ndarray, reference: float, end: float) -> float:
    """Return the hypervolume as a sum of thin columns."""
    columns = np.linspace(0, end, 20_001)[:-1]
    reached = [max(accuracy[cost <= column], default=reference) for column in columns]
    return float((np.maximum(reached, reference) - reference).mean() * end)


def searched(name: str, budget: int, seed: int = 0) -> History:
    the_space = b0_space()
    return search(
        the_space,
        Synthetic(),
        LIMIT,
        catalog.strategy(name, the_space, LIMIT),
        budget,
        LoopOptions(seed=seed, workers=8),
    )


def volume(history: History, reference: float = 50.0) -> float:
    accuracy = history.accuracy
    cost = history.costs.flops / LIMIT.target
    front = pareto_front(accuracy, cost)
    staircase = Staircase.of(accuracy[front], cost[front], reference=reference, end=1.0)
    widths = np.diff(np.append(staircase.cost, 1.0))
    return float(((staircase.accuracy - reference) * widths).sum())


def test_gains_are_the_area_that_each_network_adds() -> None:
    rng = np.random.default_rng(0)
    cost, accuracy = rng.uniform(0.2, 1.0, 8), rng.uniform(50.0, 60.0, 8)
    staircase = Staircase.of(accuracy, cost, reference=52.0, end=1.0)
    before = area(accuracy, cost, 52.0, 1.0)
    new_cost, new_accuracy = rng.uniform(0.1, 1.0, 6), rng.uniform(50.0, 62.0, 6)
    for gain, one, spent in zip(
        staircase.gain(new_accuracy, new_cost), new_accuracy, new_cost, strict=True
    ):
        added = area(np.append(accuracy, one), np.append(cost, spent), 52.0, 1.0) - before
        assert max(gain, 0.0) == pytest.approx(added, abs=0.01)


def test_below_the_front_the_gain_says_how_far() -> None:
    staircase = Staircase.of(np.array([60.0]), np.array([0.5]), reference=50.0, end=1.0)
    gains = staircase.gain(np.array([59.0, 57.0, 49.0]), np.array([0.6, 0.6, 0.4]))
    np.testing.assert_allclose(gains, [-1.0, -3.0, -1.0])


def test_beyond_the_end_nothing_is_gained() -> None:
    staircase = Staircase.of(np.array([60.0]), np.array([0.5]), reference=50.0, end=1.0)
    assert staircase.gain(np.array([70.0]), np.array([1.2]))[0] <= 0


def test_its_front_is_ahead_of_the_other_strategies() -> None:
    ours = np.mean([volume(searched("predictor-front", 64, seed)) for seed in range(2)])
    for name in ("random", "nsga2", "predictor"):
        other = np.mean([volume(searched(name, 64, seed)) for seed in range(2)])
        assert ours > other, name


def test_a_batch_is_spread_along_the_front() -> None:
    history = searched("predictor-front", 48)
    batch = FrontPredictor(history.space, LIMIT).propose(history, 8, np.random.default_rng(1))
    flops = np.sort(history.space.costs(batch).flops) / 1e6
    assert len(batch) == 8
    assert np.ptp(flops) > 50
    assert len(np.unique(np.round(flops))) > 4


def test_what_is_pending_is_not_proposed_and_its_area_is_taken() -> None:
    history = searched("predictor-front", 48)
    strategy = FrontPredictor(history.space, LIMIT)
    batch = strategy.propose(history, 8, np.random.default_rng(1))
    history.pending = batch
    after = strategy.propose(history, 8, np.random.default_rng(1))
    assert not set(history.space.keys(after)) & set(history.space.keys(batch))


def test_it_chooses_within_a_pool_and_ends_with_it() -> None:
    the_space = b0_space()
    draws = the_space.sample(60, np.random.default_rng(0))
    pool = draws[LIMIT.feasible(the_space.costs(draws))]
    strategy = FrontPredictor(the_space, LIMIT, pool=pool)
    history = search(the_space, Synthetic(), LIMIT, strategy, 100, LoopOptions(workers=8))
    assert len(history) == len(pool)
    assert set(the_space.keys(history.genotypes)) == set(the_space.keys(pool))


def test_networks_over_the_target_count_where_they_are_allowed() -> None:
    the_space = b0_space()
    soft = Objective(300e6, over_target="allow")
    strategy = catalog.strategy("predictor-front", the_space, soft)
    history = search(the_space, Synthetic(), soft, strategy, 40, LoopOptions(workers=8))
    assert (history.costs.flops > soft.target).any()


@pytest.mark.parametrize(("kind", "least"), [(FrontPredictor, 0.35), (Predictor, 0.5)])
def test_a_region_where_networks_fail_is_left(kind: type[Predictor], least: float) -> None:
    class Sometimes(Synthetic):
        def evaluate(self, space, genotypes):  # type: ignore[no-untyped-def]
            found = super().evaluate(space, genotypes)
            accuracy = np.where(genotypes[:, 0] == 0, np.nan, found.accuracy)
            return Evaluations(accuracy, found.std, found.seconds)

    the_space = b0_space()
    finished: list[np.ndarray] = []
    for seed in range(2):
        options = LoopOptions(workers=8, seed=seed)
        history = search(the_space, Sometimes(), LIMIT, kind(the_space, LIMIT), 56, options)
        assert len(history) == 56
        finished.append(np.isfinite(history.accuracy[-32:]))
    assert np.mean(finished) > least
