"""Properties that all strategies share."""

from __future__ import annotations

import numpy as np
import pytest

from nas import catalog
from nas.history import History
from nas.objective import Objective
from nas.search.loop import LoopOptions, search
from nas.strategies.base import Strategy, sample_fresh
from nas.strategies.evolution import Evolution
from nas.strategies.nsga2 import Nsga2, crowding, front_rank
from nas.strategies.optuna_sampler import OptunaSampler
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from tests.nas.toys import TARGET, Synthetic, b0_space, tiny_space
from tests.speed import assert_quick

OPTUNA = [name for name in catalog.STRATEGIES if name.startswith("optuna:")]
ALL = pytest.mark.parametrize("name", [name for name in catalog.STRATEGIES if name not in OPTUNA])


def make(name: str, the_space: SearchSpace, objective: Objective = TARGET) -> Strategy:
    if name == "evolution":  # small enough that tournaments start within the budgets of the tests
        return Evolution(population=20, tournament=5)
    if name == "nsga2":
        return Nsga2(population=20)
    return catalog.strategy(name, the_space, objective)


def tried(
    name: str,
    budget: int,
    *,
    the_space: SearchSpace | None = None,
    workers: int = 7,
    objective: Objective = TARGET,
    seed: int = 0,
) -> History:
    the_space = b0_space() if the_space is None else the_space
    strategy = make(name, the_space, objective)
    return search(
        the_space, Synthetic(), objective, strategy, budget, LoopOptions(seed=seed, workers=workers)
    )


@ALL
def test_everything_evaluated_is_feasible_and_new(name: str) -> None:
    history = tried(name, 100)
    assert len(history) == 100
    assert history.objective.feasible(history.costs).all()
    assert len({genotype.tobytes() for genotype in history.genotypes}) == 100
    assert history.genotypes.dtype == np.int8
    canonical = history.space.canonical(history.genotypes)
    np.testing.assert_array_equal(canonical, history.genotypes)


@ALL
def test_same_seed_same_search_and_other_seed_another(name: str) -> None:
    first, second, other = tried(name, 60), tried(name, 60), tried(name, 60, seed=1)
    np.testing.assert_array_equal(first.genotypes, second.genotypes)
    assert (first.genotypes != other.genotypes).any()


@ALL
def test_a_proposal_is_a_function_of_history_and_generator(name: str) -> None:
    history = tried(name, 63)
    proposals = [
        make(name, history.space).propose(history, 7, np.random.default_rng(3)) for _ in range(2)
    ]
    np.testing.assert_array_equal(*proposals)
    assert 0 < len(proposals[0]) <= 7


@ALL
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(name: str) -> None:
    whole = tried(name, 98)
    part = tried(name, 49)
    # a new process: another history object with the same rows, another strategy object
    copy = History(part.space, part.objective)
    evaluations = Synthetic().evaluate(part.space, part.genotypes)
    copy.extend(part.genotypes.copy(), evaluations, part.costs)
    resumed = search(
        part.space,
        Synthetic(),
        TARGET,
        make(name, part.space),
        98,
        LoopOptions(workers=7, history=copy),
    )
    np.testing.assert_array_equal(resumed.genotypes, whole.genotypes)


@pytest.mark.slow
@ALL
def test_a_space_with_conditions_and_a_narrow_limit(name: str) -> None:
    the_space = space("mnasnet")
    objective = Objective(60e6, "feasible")  # far below 1 in 10,000 uniform draws
    history = tried(name, 40, the_space=the_space, objective=objective)
    assert len(history) == 40
    assert history.costs.flops.max() <= 60e6


@ALL
def test_an_exhausted_space_ends_the_search(name: str) -> None:
    objective = Objective(64e6, "feasible")
    history = tried(name, 100, the_space=tiny_space(), objective=objective)
    # 18 of the 24 networks have width x depth <= 64
    assert len(history) == 18


@ALL
def test_failures_are_rows_that_mislead_nobody(name: str) -> None:
    class Fails(Synthetic):
        def evaluate(self, space, genotypes):  # type: ignore[no-untyped-def]
            evaluations = super().evaluate(space, genotypes)
            evaluations.accuracy[genotypes[:, 0] == 2] = np.nan
            return evaluations

    the_space = b0_space()
    history = search(the_space, Fails(), TARGET, make(name, the_space), 80, LoopOptions(workers=8))
    assert len(history) == 80
    assert history.genotypes[history.best()][0] != 2


@pytest.mark.parametrize("name", OPTUNA)
def test_optunas_samplers_keep_the_promises_but_that_they_resume_exactly(name: str) -> None:
    # GP, slow where decisions are many, gets a small space; they draw ten at random first
    the_space = tiny_space() if name == "optuna:gp" else b0_space()
    first, second = (tried(name, 14, workers=2, the_space=the_space) for _ in range(2))
    assert first.objective.feasible(first.costs).all()
    assert len({genotype.tobytes() for genotype in first.genotypes}) == len(first) == 14
    np.testing.assert_array_equal(first.genotypes, second.genotypes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optuna:tpe", "optuna:nsga2"])
def test_optunas_samplers_end_where_a_small_space_is_exhausted(name: str) -> None:
    objective = Objective(64e6, "feasible")
    assert len(tried(name, 100, the_space=tiny_space(), objective=objective)) == 18


def test_an_optuna_sampler_is_told_limits_by_constraints() -> None:
    strategy = OptunaSampler("tpe")
    history = search(b0_space(), Synthetic(), Objective(150e6, "feasible"), strategy, 8)
    trials = strategy._studies[history].study.get_trials()
    violated = [trial for trial in trials if trial.constraints.get("limits", 0.0) > 0]
    kept = [trial for trial in trials if trial.constraints.get("limits") == 0.0]
    # each infeasible proposal has its violation and a low value
    assert violated
    assert kept
    assert min(trial.value for trial in kept) >= max(trial.value for trial in violated[-1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local", "evolution", "nsga2", "predictor"])
def test_learns_more_than_random(name: str) -> None:
    learned = [tried(name, 300, seed=seed).accuracy.max() for seed in range(2)]
    drawn = [tried("random", 300, seed=seed).accuracy.max() for seed in range(2)]
    assert min(learned) > max(drawn)


@pytest.mark.slow
def test_controller_raises_the_reward_it_is_given() -> None:
    history = tried("controller", 1000, workers=20)
    assert history.reward[-200:].mean() > history.reward[:200].mean() + history.reward[:200].std()


def test_nothing_feasible_says_what_the_space_can_do() -> None:
    objective = Objective(1.0)
    with pytest.raises(ValueError, match="51,594,768 to 884,060,256"):
        search(b0_space(), Synthetic(), objective, make("random", b0_space()), 10)


def test_uniform_draws_where_enough_are_feasible() -> None:
    history = History(b0_space(), TARGET)
    drawn = sample_fresh(history, 3000, np.random.default_rng(0))
    rejected = b0_space().sample(9000, np.random.default_rng(1))
    rejected = rejected[TARGET.feasible(b0_space().costs(rejected))]
    np.testing.assert_allclose(drawn.mean(0), rejected.mean(0), atol=0.07)


def test_front_ranks_and_crowding_of_a_known_case() -> None:
    points = np.array([[0.0, 3.0], [1.0, 1.0], [3.0, 0.0], [2.0, 2.0], [4.0, 4.0]])
    np.testing.assert_array_equal(front_rank(points), [0, 0, 0, 1, 2])
    distance = crowding(points, front_rank(points))
    assert np.isinf(distance[[0, 2]]).all()
    assert distance[1] == pytest.approx(2.0)  # (3-0)/3 + (3-0)/3


def test_evolution_forgets_the_old() -> None:
    # the best network is too old for the population, so its children are not proposed
    history = tried("random", 30)
    strategy = Evolution(population=10, tournament=200)
    young = history.genotypes[-10:][history.reward[-10:].argmax()]
    assert history.reward[:-10].max() > history.reward[-10:].max()
    children = strategy.propose(history, 5, np.random.default_rng(0))
    assert ((children != young).sum(1) == 1).all()


def test_evolution_has_generations_within_a_small_budget() -> None:
    strategy = Evolution(population=20, tournament=5)
    history = tried("random", 40)
    for count, most in ((5, 5), (1000, 10)):
        children = strategy.propose(history, count, np.random.default_rng(0))
        assert 0 < len(children) <= most
    history = tried("random", 20)  # the first children come from the whole population
    assert len(strategy.propose(history, 1000, np.random.default_rng(0))) == 5


def test_proposals_are_quick() -> None:
    # loose bounds for shared machines; experiments/results has the measured times
    the_space = b0_space()
    assert_quick(
        lambda: search(the_space, Synthetic(cheap=True), TARGET, Evolution(), 100_000),
        100_000 * 50e-6,
    )
    history = search(
        the_space, Synthetic(), TARGET, make("random", the_space), 1000, LoopOptions(workers=1000)
    )
    predictor = catalog.strategy("predictor", the_space, TARGET)
    predictor.propose(history, 8, np.random.default_rng(0))  # learns its prior once
    assert_quick(lambda: predictor.propose(history, 8, np.random.default_rng(1)), 8 * 20e-3)
