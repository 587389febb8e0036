"""The only registry of strategies and evaluators, by name; nothing heavy is imported before use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.evaluators.base import Evaluator
from nas.objective import Objective
from nas.strategies.base import Strategy
from search_spaces.space import SearchSpace
from vbs.plugins import blamed, call_with, is_reference, load_object
from vbs.text import one_of, quoted, shortened

if TYPE_CHECKING:
    from nas.history import History


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


@dataclass(frozen=True)
class EvaluatorEntry:
    """What an evaluator needs, and how it is made.

    make    one that answers in the process of the search: from the space, the file of a table and
            its column of accuracies. None for one that is made in each worker.
    kind    returns the class of one that is made in each worker.
    table   whether it reads a table of measured networks.
    images  whether it measures on the user's images, by workers; see nas.search.setup.
    trains  whether it trains networks.
    """

    make: Callable[[SearchSpace, str | None, str], Evaluator] | None = None
    kind: Callable[[], type[Evaluator]] | None = None
    table: bool = False
    images: bool = False
    trains: bool = False


def _surrogate(space: SearchSpace, table: str | None, column: str) -> Evaluator:
    from nas.evaluators.surrogate import SurrogateEvaluator, load_surrogate

    return SurrogateEvaluator(load_surrogate("imagenet"))


def _table(space: SearchSpace, table: str | None, column: str) -> Evaluator:
    from nas.evaluators.table import read_table

    if table is None:
        raise ValueError("table: the evaluator 'table' needs a file; give --table FILE")
    return read_table(table, space, column=column)


def _proxy() -> type[Evaluator]:
    from nas.evaluators.proxy import Proxy

    return Proxy


def _zero_cost() -> type[Evaluator]:
    from nas.evaluators.zero_cost import ZeroCost

    return ZeroCost


EVALUATORS: dict[str, EvaluatorEntry] = {
    "surrogate": EvaluatorEntry(make=_surrogate),
    "table": EvaluatorEntry(make=_table, table=True),
    "proxy": EvaluatorEntry(kind=_proxy, images=True, trains=True),
    "zero-cost": EvaluatorEntry(kind=_zero_cost, images=True),
}
PLUGIN_BUDGET = 1_000  # of a strategy of the user's own, unless it has a `budget`


def strategy(name: str, space: SearchSpace, objective: Objective) -> Strategy:
    """The strategy of that name with its default numbers; ValueError names the nearest.

    "package.module:Name" and "path/to/file.py:Name" name a strategy of your own: an object with
    the methods of `nas.strategies.base.Strategy`, or what returns one, such as its class; it gets
    the space and the objective where it takes arguments.
    """
    if not is_reference(name, STRATEGIES):
        return STRATEGIES[one_of("strategy", name, STRATEGIES)].make(space, objective)
    found = load_object(name, what="strategy")
    if isinstance(found, type) or not hasattr(found, "propose"):
        found = _made(found, name, what="strategy", space=space, objective=objective)
    if not callable(getattr(found, "propose", None)) or not hasattr(found, "generation"):
        raise ValueError(
            f"strategy: {shortened(name)} has no method propose and number generation, see "
            "nas.strategies.base.Strategy"
        )
    return OwnStrategy(name, found)


class OwnStrategy:
    """A strategy of the user's own, whose mistakes are errors of one line that name it."""

    def __init__(self, name: str, own: Any) -> None:
        self.name, self._own = name, own
        self.generation = _whole(name, "generation", own.generation)
        self.budget = _whole(name, "budget", getattr(own, "budget", PLUGIN_BUDGET))

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """What it proposes, int8 [n, decisions]; ValueError for what are no genotypes."""
        with blamed("strategy", self.name):
            found = np.asarray(self._own.propose(history, count, rng))
        options = history.space.option_counts
        if not found.size:
            return np.empty((0, len(options)), np.int8)
        if (
            found.ndim != 2
            or found.shape[1] != len(options)
            or not np.issubdtype(found.dtype, np.integer)
            or found.min() < 0
            or (found >= options).any()
        ):
            raise ValueError(
                f"strategy: {shortened(self.name)} proposed {found.dtype} {list(found.shape)}; "
                f"return option indices, an integer array [n, {len(options)}]"
            )
        return found.astype(np.int8)


def _whole(name: str, what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"strategy: {shortened(name)} has the {what} {quoted(value, 40)}; use a whole number "
            "from 1"
        )
    return value


def budget_of(name: str, strategy: Strategy) -> int:
    """The budget of a strategy where evaluations cost nothing and the user names none."""
    known = STRATEGIES.get(name)
    return known.budget if known else int(getattr(strategy, "budget", PLUGIN_BUDGET))


def evaluator_entry(name: str) -> EvaluatorEntry:
    """What the evaluator of that name needs; nothing is imported. ValueError names the nearest."""
    if is_reference(name, EVALUATORS):
        return EvaluatorEntry(make=partial(_plugin_evaluator, name))
    return EVALUATORS[one_of("evaluator", name, EVALUATORS)]


def evaluator(
    name: str, space: SearchSpace, *, table: str | None = None, table_column: str = "accuracy"
) -> Evaluator:
    """The evaluator of that name, checked against the space; ValueError says what does not fit.

    One that answers in this process; others are made where they work. "package.module:Name" and
    "path/to/file.py:Name" name an evaluator of your own: a subclass of
    `nas.evaluators.base.Evaluator`, or a function that returns an instance; it gets the space
    where it takes an argument.
    """
    entry = evaluator_entry(name)
    if table is not None and not entry.table:
        raise ValueError(f"table: a file is given, but the evaluator is {name!r}, not 'table'")
    if entry.make is None:
        raise ValueError(f"evaluator: {name!r} measures on images; it is made by each worker")
    made = entry.make(space, table, table_column)
    made.check(space)
    return made


def _plugin_evaluator(name: str, space: SearchSpace, table: str | None, column: str) -> Evaluator:
    found = load_object(name, what="evaluator")
    made = (
        found if isinstance(found, Evaluator) else _made(found, name, what="evaluator", space=space)
    )
    if not isinstance(made, Evaluator):
        raise ValueError(
            f"evaluator: {shortened(name)} is {quoted(made, 60)}, not a subclass of "
            "nas.evaluators.base.Evaluator or a function that returns an instance"
        )
    return made


def _made(found: Any, name: str, *, what: str, **offered: Any) -> Any:
    if not callable(found):
        raise ValueError(f"{what}: {shortened(name)} is {quoted(found, 60)}, which is not callable")
    return call_with(found, what=what, **offered)
