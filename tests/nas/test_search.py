"""The search loop: user-defined spaces and evaluators, failures, pools."""

from __future__ import annotations

import numpy as np
import pytest

from nas import catalog
from nas.evaluators.base import Evaluations, Evaluator, Measured
from nas.evaluators.table import TableEvaluator
from nas.history import Cut, History
from nas.objective import Objective
from nas.search.loop import LoopOptions, search
from nas.strategies.evolution import Evolution
from nas.strategies.random_search import Random
from search_spaces.cost import Cost
from search_spaces.space import SearchSpace
from tests.nas.toys import TARGET, Synthetic, b0_space, tiny_space


def test_own_space_and_evaluator_through_the_whole_loop() -> None:
    class Brightness(Evaluator):
        def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
            networks = [space.decode(genotype) for genotype in genotypes]
            accuracy = np.array([width * depth**0.5 for width, depth, _ in networks], float)
            return Evaluations(accuracy, np.ones(len(networks)), np.ones(len(networks)))

    objective = Objective(100e6, "feasible")
    history = search(tiny_space(), Brightness(), objective, Random(), 24, LoopOptions(workers=3))
    best = history.space.decode(history.genotypes[history.best()])
    assert best[:2] == (64, 1)  # the brightest of those with width x depth <= 100
    assert len(history) == 20


def test_limits_are_asked_before_anything_is_evaluated() -> None:
    class Guard(Synthetic):
        def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
            assert (space.costs(genotypes).flops <= 300e6).all()
            assert (space.costs(genotypes).params <= 3e6).all()
            return super().evaluate(space, genotypes)

    class Reckless(Random):
        def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
            return history.space.sample(count, rng)

    objective = Objective(300e6, limits=(("params", 3e6),))
    history = search(b0_space(), Guard(), objective, Reckless(), 50, LoopOptions(workers=10))
    assert (history.error == "").all()


def test_an_exception_in_the_evaluator_is_a_row_with_its_reason() -> None:
    class Crashes(Synthetic):
        def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
            if (genotypes[:, 0] == 2).any():
                raise RuntimeError("CUDA out of memory")
            return super().evaluate(space, genotypes)

    history = search(
        b0_space(), Crashes(), TARGET, Evolution(population=10), 60, LoopOptions(workers=8)
    )
    failed = history.error != ""
    np.testing.assert_array_equal(failed, history.genotypes[:, 0] == 2)  # not their neighbours
    assert 0 < failed.sum() < 60
    assert set(history.error[failed]) == {"RuntimeError: CUDA out of memory"}
    assert np.isnan(history.accuracy[failed]).all()
    assert np.isneginf(history.reward[failed]).all()
    assert not failed[history.best()]
    assert not np.isin(history.front(), np.flatnonzero(failed)).any()


def test_all_failed_says_so() -> None:
    class Broken(Evaluator):
        def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
            raise ZeroDivisionError("always")

    history = search(b0_space(), Broken(), TARGET, Random(), 5)
    with pytest.raises(ValueError, match=r"none of 5 evaluations succeeded.*ZeroDivisionError"):
        history.best()


@pytest.mark.parametrize(
    ("accuracy", "error", "reason"),
    [(np.inf, None, "accuracy is inf"), (np.nan, None, "accuracy is nan"), (np.nan, "OOM", "OOM")],
)
def test_accuracies_that_are_no_numbers_are_failures(
    accuracy: float, error: str | None, reason: str
) -> None:
    class Odd(Evaluator):
        def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
            count = len(genotypes)
            values = np.arange(count, dtype=float)
            values[0] = accuracy
            errors = None if error is None else np.array([error] + [None] * (count - 1), object)
            return Evaluations(values, np.ones(count), np.ones(count), errors)

    history = search(b0_space(), Odd(), TARGET, Random(), 4, LoopOptions(workers=4))
    assert history.error.tolist() == [reason, "", "", ""]
    assert history.best() == 3


@pytest.mark.parametrize("budget", [0, 2.5])
def test_impossible_budgets(budget: int) -> None:
    with pytest.raises(ValueError, match=f"budget: {budget}"):
        search(b0_space(), Synthetic(), TARGET, Random(), budget)


def test_impossible_workers() -> None:
    with pytest.raises(ValueError, match="workers: 0"):
        LoopOptions(workers=0)


def test_a_history_of_another_search_is_refused() -> None:
    history = search(b0_space(), Synthetic(), TARGET, Random(), 3)
    with pytest.raises(ValueError, match="another space or objective"):
        search(
            history.space, Synthetic(), Objective(1e9), Random(), 5, LoopOptions(history=history)
        )


def test_an_evaluator_that_miscounts_is_refused() -> None:
    class Miscounts(Evaluator):
        def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
            return Evaluations(np.ones(1), np.ones(1), np.ones(1))

    with pytest.raises(ValueError, match="returned 1 evaluations for 2 genotypes"):
        search(b0_space(), Miscounts(), TARGET, Random(), 4, LoopOptions(workers=2))


def test_a_pooled_evaluator_is_asked_for_its_own_networks_only() -> None:
    the_space = b0_space()
    known = the_space.sample(60, np.random.default_rng(0))
    accuracy = Synthetic().evaluate(the_space, known).accuracy
    table = TableEvaluator(the_space, Measured(known, accuracy), np.zeros(60))
    history = search(
        the_space, table, TARGET, Evolution(population=10), 1000, LoopOptions(workers=4)
    )
    feasible = TARGET.feasible(the_space.costs(known))
    assert len(history) == feasible.sum()  # each network once, then the search ends
    assert (history.error == "").all()
    assert history.accuracy.max() == accuracy[feasible].max()


def test_record_sees_every_extension() -> None:
    seen: list[int] = []
    search(
        b0_space(),
        Synthetic(),
        TARGET,
        Random(),
        10,
        LoopOptions(workers=4, record=lambda history: seen.append(len(history))),
    )
    assert seen == [4, 8, 10]


def test_cheap_evaluators_get_whole_generations() -> None:
    evaluator = Synthetic(cheap=True)
    search(b0_space(), evaluator, TARGET, Random(generation=500), 2000)
    assert evaluator.calls == 4


@pytest.mark.parametrize(
    "name", ["random", "local", "evolution", "nsga2", "predictor", "predictor-front", "controller"]
)
def test_the_budget_only_decides_where_a_search_ends(name: str) -> None:
    the_space = b0_space()

    def ran(budget: int, history: History | None = None) -> History:
        strategy = catalog.strategy(name, the_space, TARGET)
        options = LoopOptions(seed=3, history=history)
        return search(the_space, Synthetic(cheap=True), TARGET, strategy, budget, options)

    whole, part = ran(70), ran(43)
    assert part.cut is not None
    np.testing.assert_array_equal(part.genotypes, whole.genotypes[:43])
    ran(57, part)  # may end in the same batch
    ran(70, part)
    np.testing.assert_array_equal(part.genotypes, whole.genotypes)
    np.testing.assert_array_equal(part.reward, whole.reward)


def test_the_children_of_a_generation_that_the_budget_cut_off_are_evaluated_later() -> None:
    the_space, strategy = b0_space(), Evolution(population=20)

    def ran(budget: int, history: History | None = None) -> History:
        options = LoopOptions(history=history)
        return search(the_space, Synthetic(cheap=True), TARGET, strategy, budget, options)

    whole, part = ran(200), ran(127)
    assert part.cut is not None
    assert part.cut.start > 100
    ran(200, part)
    np.testing.assert_array_equal(part.genotypes, whole.genotypes)


def test_a_strategy_with_a_state_of_its_own_begins_a_new_batch() -> None:
    class Forgetful(Random):
        def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
            return super().propose(history, count, np.random.default_rng())

    the_space, strategy = b0_space(), Forgetful(generation=50)
    history = search(the_space, Synthetic(cheap=True), TARGET, strategy, 30)
    assert history.cut == Cut(0, 0)
    options = LoopOptions(history=history)
    search(the_space, Synthetic(cheap=True), TARGET, strategy, 60, options)
    assert len(history) == history.networks == 60


def test_history_arrays_cannot_be_written_by_a_strategy() -> None:
    history = search(b0_space(), Synthetic(), TARGET, Random(), 3)
    with pytest.raises(ValueError, match="read-only"):
        history.genotypes[0, 0] = 1


def test_cost_of_a_user_is_a_cost() -> None:
    genotypes = np.array([[0], [1]])
    the_space = SearchSpace("own", {"a": (1, 2)}, tuple, cost=lambda net: Cost(flops=10))
    assert the_space.costs(genotypes).flops.tolist() == [10, 10]
    for wrong in (lambda net: 10, lambda net: Cost(flops=1.5)):
        with pytest.raises(ValueError, match="cost function of space 'own' returned"):
            SearchSpace("own", {"a": (1, 2)}, tuple, cost=wrong).costs(genotypes)
    with pytest.raises(ValueError, match="pass a cost function to SearchSpace"):
        SearchSpace("own", {"a": (1, 2)}, tuple).costs(genotypes)
