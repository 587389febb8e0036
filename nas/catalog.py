"""The only registry of strategies and evaluators, by name; nothing heavy is imported before use."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nas.evaluators.base import Evaluator
from nas.objective import Objective
from nas.strategies.base import Strategy
from search_spaces.catalog import one_of
from search_spaces.space import SearchSpace


class Entry(NamedTuple):
    """How a strategy is made, and the budget it gets where evaluations cost nothing."""

    make: Callable[[SearchSpace, Objective], Strategy]
    budget: int


def _random(space: SearchSpace, objective: Objective) -> Strategy:
    from nas.strategies.random_search import Random

    return Random()


def _local(space: SearchSpace, objective: Objective) -> Strategy:
    from nas.strategies.local_search import LocalSearch

    return LocalSearch()


def _evolution(space: SearchSpace, objective: Objective) -> Strategy:
    from nas.strategies.evolution import Evolution

    return Evolution()


def _nsga2(space: SearchSpace, objective: Objective) -> Strategy:
    from nas.strategies.nsga2 import Nsga2

    return Nsga2()


def _controller(space: SearchSpace, objective: Objective) -> Strategy:
    from nas.strategies.controller import Controller

    return Controller()


def _predictor(space: SearchSpace, objective: Objective) -> Strategy:
    from nas.strategies.predictor import Predictor

    return Predictor(space, objective)


def _optuna(sampler: str) -> Callable[[SearchSpace, Objective], Strategy]:
    def make(space: SearchSpace, objective: Objective) -> Strategy:
        from nas.strategies.optuna_sampler import OptunaSampler

        return OptunaSampler(sampler)

    return make


STRATEGIES: dict[str, Entry] = {
    "random": Entry(_random, 400_000),
    "local": Entry(_local, 100_000),
    "evolution": Entry(_evolution, 400_000),
    "nsga2": Entry(_nsga2, 100_000),
    "controller": Entry(_controller, 8_000),  # what the paper sampled
    "predictor": Entry(_predictor, 1_000),
    # Optuna's samplers take longer with every trial; the budgets are some minutes of one core
    "optuna:tpe": Entry(_optuna("tpe"), 300),
    "optuna:tpe-multivariate": Entry(_optuna("tpe-multivariate"), 1_000),
    "optuna:gp": Entry(_optuna("gp"), 100),
    "optuna:nsga2": Entry(_optuna("nsga2"), 1_000),
}

EVALUATORS = ("surrogate", "table", "proxy", "zero-cost")
MEASURED = ("proxy", "zero-cost")  # on the user's data, by workers: see nas.search.setup


def strategy(name: str, space: SearchSpace, objective: Objective) -> Strategy:
    """The strategy of that name with its default numbers; ValueError names the nearest."""
    return STRATEGIES[one_of("strategy", name, STRATEGIES)].make(space, objective)


def evaluator(
    name: str, space: SearchSpace, *, table: str | None = None, table_column: str = "accuracy"
) -> Evaluator:
    """The evaluator of that name, checked against the space; ValueError says what does not fit.

    One that answers at once; those of `MEASURED` are made where they work.
    """
    one_of("evaluator", name, EVALUATORS)
    if name == "table":
        from nas.evaluators.table import read_table

        if table is None:
            raise ValueError("table: the evaluator 'table' needs a file; give --table FILE")
        return read_table(table, space, column=table_column)
    if table is not None:
        raise ValueError("table: a file is given, but the evaluator is 'surrogate', not 'table'")
    from nas.evaluators.surrogate import SurrogateEvaluator, load_surrogate

    surrogate = SurrogateEvaluator(load_surrogate("imagenet"))
    surrogate.check(space)
    return surrogate
