"""The asynchronous search loop, with workers in this process and with simulated ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import catalog
from nas.asha import Asha
from nas.evaluators.base import Evaluator, Point
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import FEWEST, Plan, TooManyFailures, search_asynchronously
from nas.search.loop import LoopOptions, search
from nas.search.workers import InProcess, OnCluster, Simulated, Workers
from nas.strategies.base import Strategy, sample_fresh
from nas.strategies.random_search import Random
from search_spaces.space import SearchSpace
from tests.nas.toys import TARGET, Synthetic, b0_space, tiny_space
from train.cluster.place import Place

STEPS = 9
LEARNERS = pytest.mark.parametrize("name", ["random", "evolution", "predictor"])


def seconds_of(genotype: np.ndarray) -> float:
    """Return a different time for every network, so that results arrive out of order."""
    return 1.0 + float(np.random.default_rng(genotype.astype(np.uint8)).random())


def learning(
    genotype: np.ndarray, seed: int = 0, *, space: SearchSpace | None = None
) -> list[Point]:
    """Return a curve that ends at the synthetic accuracy, with the same ranking at every step."""
    the_space = b0_space() if space is None else space
    final = float(Synthetic().evaluate(the_space, genotype[None]).accuracy[0]) + 0.1 * seed
    pace = seconds_of(genotype)
    return [Point(step, final - 20 / step, pace * step) for step in range(1, STEPS + 1)]


def at_once(genotype: np.ndarray, seed: int) -> list[Point]:
    return [Point(1, learning(genotype, seed)[-1].accuracy, seconds_of(genotype))]


class Curves(Evaluator):
    """Evaluator with the curves of `learning`."""

    name, steps = "curves", STEPS

    def curve(
        self, space: SearchSpace, genotype: np.ndarray, *, seed: int = 0, folder: Path | None = None
    ) -> Iterator[Point]:
        yield from learning(genotype, seed)


class Witness:
    """Passes calls on to a strategy, and records the pending networks of each proposal."""

    generation = 1

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.pending: list[int] = []

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        self.pending.append(len(history.pending))
        proposals = self.strategy.propose(history, count, rng)
        assert not history.contains(proposals).any()
        return proposals


def run(
    workers: Workers,
    plan: Plan,
    *,
    name: str = "random",
    space: SearchSpace | None = None,
    objective: Objective = TARGET,
) -> tuple[History, str]:
    the_space = b0_space() if space is None else space
    history = History(the_space, objective)
    strategy = Witness(catalog.strategy(name, the_space, objective))
    ending = search_asynchronously(history, strategy, workers, plan)
    assert max(strategy.pending, default=0) < workers.capacity
    return history, ending


@LEARNERS
@pytest.mark.parametrize("capacity", [1, 16])
def test_many_workers_get_feasible_networks_and_none_twice(name: str, capacity: int) -> None:
    history, ending = run(Simulated(at_once, capacity=capacity, steps=1), Plan(50), name=name)
    assert ending == "finished"
    assert len(history) == 50
    assert len({genotype.tobytes() for genotype in history.genotypes}) == 50
    assert history.objective.feasible(history.costs).all()
    assert len(history.pending) == 0


def test_answers_come_in_the_order_they_end() -> None:
    workers = Simulated(at_once, capacity=8, steps=1)
    history = History(b0_space(), TARGET)
    clock: list[float] = []
    search_asynchronously(
        history, Random(), workers, Plan(40), record=lambda _: clock.append(workers.now)
    )
    assert clock == sorted(clock)
    assert len(clock) == len(history) == 40
    # eight at once take about an eighth of the time, without waiting for each other
    assert workers.now < workers.busy / 8 + 2.0
    assert workers.busy == pytest.approx(history.seconds.sum())


def test_the_work_of_unfinished_evaluations_counts_as_spent() -> None:
    workers = Simulated(lambda genotype, seed: [Point(1, 50.0, 4.0)], capacity=2, steps=1)
    workers.start(0, np.zeros(1, np.int8))
    workers.wait(0)
    workers.start(1, np.zeros(1, np.int8))
    workers.wait(0)
    assert workers.busy == pytest.approx(4.0)  # one has ended, the other starts
    workers.wait(0)
    assert (workers.now, workers.busy) == (8.0, 8.0)


@LEARNERS
def test_one_worker_is_the_loop_that_waits(name: str) -> None:
    history, _ = run(InProcess(Synthetic(), b0_space()), Plan(30, seed=3), name=name)
    strategy = catalog.strategy(name, b0_space(), TARGET)
    waited = search(b0_space(), Synthetic(), TARGET, strategy, 30, LoopOptions(seed=3))
    np.testing.assert_array_equal(history.genotypes, waited.genotypes)
    np.testing.assert_array_equal(history.accuracy, waited.accuracy)


@LEARNERS
@pytest.mark.parametrize("capacity", [1, 5])
def test_the_same_seed_gives_the_same_search(name: str, capacity: int) -> None:
    first, second = (
        run(
            Simulated(learning, capacity=capacity, steps=STEPS),
            Plan(24, seed=1, asha=Asha(STEPS)),
            name=name,
        )[0]
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.genotypes, second.genotypes)
    np.testing.assert_array_equal(first.fidelity, second.fidelity)


@pytest.mark.parametrize("capacity", [1, 6])
def test_asha_stops_what_lags_behind_and_keeps_the_best(capacity: int) -> None:
    workers = Simulated(learning, capacity=capacity, steps=STEPS)
    history, _ = run(workers, Plan(60, asha=Asha(STEPS)))
    ends = np.round(history.fidelity * STEPS).astype(int)
    assert set(ends) == {1, 3, 9}
    # each rung lets about a third pass, and all of the first ones
    assert 2 <= (ends == 9).sum() <= 20
    assert (ends == 1).sum() >= 30
    assert [len(curve) for curve in history.curves] == ends.tolist()
    np.testing.assert_allclose(
        history.seconds, [seconds_of(g) * e for g, e in zip(history.genotypes, ends, strict=True)]
    )
    assert workers.busy == pytest.approx(history.seconds.sum())
    # the ranking is constant from the first step, so the best network is never stopped
    finals = Synthetic().evaluate(b0_space(), history.genotypes).accuracy
    assert history.best() == finals.argmax()


def test_asha_in_this_process_gives_what_a_simulation_gives() -> None:
    plan = Plan(30, asha=Asha(STEPS, 2, 2.0))
    ours, _ = run(InProcess(Curves(), b0_space()), plan)
    simulated, _ = run(
        Simulated(learning, capacity=1, steps=STEPS), Plan(30, asha=Asha(STEPS, 2, 2.0))
    )
    np.testing.assert_array_equal(ours.genotypes, simulated.genotypes)
    np.testing.assert_allclose(ours.fidelity, simulated.fidelity)
    np.testing.assert_allclose(ours.accuracy, simulated.accuracy)


def test_rungs_come_back_with_the_history() -> None:
    history, _ = run(Simulated(learning, capacity=1, steps=STEPS), Plan(6))

    def poor(genotype: np.ndarray, seed: int) -> list[Point]:
        return [Point(step, 1.0, float(step)) for step in range(1, STEPS + 1)]

    workers = Simulated(poor, capacity=1, steps=STEPS)
    search_asynchronously(history, Random(), workers, Plan(2, asha=Asha(STEPS)))
    assert (history.fidelity[:6] == 1).all()
    assert [len(curve) for curve in history.curves[6:]] == [1, 1]  # stopped at the first rung


def test_without_asha_everything_is_evaluated_to_the_end() -> None:
    history, _ = run(Simulated(learning, capacity=4, steps=STEPS), Plan(20))
    assert (history.fidelity == 1).all()
    assert history.full.all()


def broken(share: float) -> Simulated:
    """Return simulated workers with NaN as the result of a share of the networks."""

    def curve(genotype: np.ndarray, seed: int) -> list[Point]:
        fails = np.random.default_rng([1, *genotype.tolist()]).random() < share
        return [Point(1, float("nan") if fails else 60.0, seconds_of(genotype))]

    return Simulated(curve, capacity=4, steps=1)


@pytest.mark.parametrize(("share", "allowed"), [(1.0, 0.5), (0.9, 0.5), (0.4, 0.1)])
def test_too_many_failures_end_the_search_and_say_why(share: float, allowed: float) -> None:
    history = History(b0_space(), TARGET)
    with pytest.raises(TooManyFailures, match=r"evaluations failed \(the last: accuracy is nan\)"):
        search_asynchronously(history, Random(), broken(share), Plan(200, failures=allowed))
    assert FEWEST <= len(history) < 200


@pytest.mark.parametrize(("share", "allowed"), [(0.2, 0.5), (1.0, 1.0)])
def test_few_failures_are_rows(share: float, allowed: float) -> None:
    history, ending = run(broken(share), Plan(60, failures=allowed))
    assert ending == "finished"
    assert len(history) == 60
    failed = history.error == "accuracy is nan"
    assert failed.sum() > 0
    np.testing.assert_array_equal(failed, np.isnan(history.accuracy))


@pytest.mark.parametrize("capacity", [1, 3, 16])
def test_finalists_are_evaluated_again_with_other_seeds(capacity: int) -> None:
    workers = Simulated(learning, capacity=capacity, steps=STEPS)
    plan = Plan(20, finalists=3, repeats=3, asha=Asha(STEPS, 1, 2.0))
    history, _ = run(workers, plan)
    finalists = min(3, history.full[:20].sum())  # stopped networks do not count
    assert finalists >= 2
    assert len(history) == 20 + finalists * 2
    keys = b0_space().keys(history.genotypes)
    again = keys[20:]
    best = np.argsort(-np.where(history.full[:20], history.reward[:20], -np.inf))[:finalists]
    assert set(again.tolist()) == set(keys[best].tolist())
    # seeds 1 and 2, each for all steps
    assert (history.fidelity[20:] == 1).all()
    for key in set(again.tolist()):
        own = history.accuracy[keys == key]
        np.testing.assert_allclose(np.sort(own - own.min()), [0.0, 0.1, 0.2], atol=1e-9)


@LEARNERS
def test_an_exhausted_space_ends_the_search(name: str) -> None:
    objective = Objective(64e6, "feasible")

    def curve(genotype: np.ndarray, seed: int) -> list[Point]:
        return [Point(1, float(genotype.sum()), seconds_of(genotype))]

    history, ending = run(
        Simulated(curve, capacity=5, steps=1),
        Plan(100),
        name=name,
        space=tiny_space(),
        objective=objective,
    )
    assert ending == "exhausted"
    assert len(history) == 18  # of 24, those with width x depth <= 64


@LEARNERS
def test_a_pool_is_all_that_is_evaluated(name: str) -> None:
    pool = sample_fresh(History(b0_space(), TARGET), 25, np.random.default_rng(0))
    history, ending = run(Simulated(at_once, capacity=4, steps=1), Plan(100, pool=pool), name=name)
    assert ending == "exhausted"
    assert sorted(map(bytes, history.genotypes)) == sorted(map(bytes, pool))


def test_time_that_is_up_begins_nothing_new() -> None:
    history, ending = run(Simulated(at_once, capacity=4, steps=1), Plan(10**6, seconds=0.2))
    assert ending == "out of time"
    assert 0 < len(history) < 10**6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "budget: 0"),
        ({"repeats": 0}, "repeats: 0"),
        ({"failures": 0.0}, "failures: 0.0"),
        ({"failures": 1.5}, "failures: 1.5"),
        ({"seconds": -1.0}, "seconds: -1.0"),
    ],
)
def test_impossible_plans_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**{"budget": 5, **arguments})


@pytest.mark.parametrize(("up", "lines"), [(0, 1), (2, 0)])
def test_a_cluster_without_room_is_said_once(
    up: int, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Pool:
        free = up

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def wait(self, seconds: float) -> list:
            return []

    monkeypatch.setattr("nas.search.workers.open_pool", Pool)
    monkeypatch.setattr("nas.search.workers.PATIENCE", -1.0)
    cluster = OnCluster(Curves, tiny_space(), Curves(), Place(2))
    for _ in range(3):
        cluster.wait(0.0)
    assert capsys.readouterr().err.count("no worker is up") == lines
