"""Catalog of strategies and evaluators by name; each is imported on first use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vbs.plugins import blamed, call_with, called, is_reference, load_object
from vbs.text import one_of, quoted, shortened

if TYPE_CHECKING:
    import numpy as np

    from nas.evaluators.base import Evaluator
    from nas.history import History
    from nas.objective import Objective
    from nas.strategies.base import Strategy
    from search_spaces.space import SearchSpace


class StrategyEntry(NamedTuple):
    """Entry of a strategy.

    reference  its class in the form that `vbs.plugins.load_object` reads.
    budget     default number of evaluations if evaluations are cheap.
    arguments  keyword arguments of the class. A class with the arguments `space` and `objective`
               also gets these.
    """

    reference: str
    budget: int
    arguments: Mapping[str, Any] = {}


OPTUNA = "nas.strategies.optuna_sampler:OptunaSampler"
STRATEGIES: dict[str, StrategyEntry] = {
    "random": StrategyEntry("nas.strategies.random_search:Random", 400_000),
    "local": StrategyEntry("nas.strategies.local_search:LocalSearch", 100_000),
    "evolution": StrategyEntry("nas.strategies.evolution:Evolution", 400_000),
    "nsga2": StrategyEntry("nas.strategies.nsga2:Nsga2", 100_000),
    "controller": StrategyEntry("nas.strategies.controller:Controller", 8_000),  # as in the paper
    "predictor": StrategyEntry("nas.strategies.predictor:Predictor", 1_000),
    "predictor-front": StrategyEntry("nas.strategies.front_predictor:FrontPredictor", 1_000),
    # Optuna's samplers take longer with every trial; these budgets take minutes on one core
    "optuna:tpe": StrategyEntry(OPTUNA, 300, {"sampler": "tpe"}),
    "optuna:tpe-multivariate": StrategyEntry(OPTUNA, 1_000, {"sampler": "tpe-multivariate"}),
    "optuna:gp": StrategyEntry(OPTUNA, 100, {"sampler": "gp"}),
    "optuna:nsga2": StrategyEntry(OPTUNA, 1_000, {"sampler": "nsga2"}),
}


class EvaluatorEntry(NamedTuple):
    """Entry of an evaluator, with its requirements.

    reference  its class, or a function that returns an instance, in the form that
               `vbs.plugins.load_object` reads.
    table      whether it reads a table of measured networks; its arguments are the file, the space
               and the column of accuracies.
    images     whether it measures on the user's images, in workers; see nas.search.setup.
    trains     whether it trains networks.
    schedules  whether it predicts for several training schedules.
    own        whether it is the user's code.
    """

    reference: str
    table: bool = False
    images: bool = False
    trains: bool = False
    schedules: bool = False
    own: bool = False

    def load(self) -> Any:
        """Import the class or function."""
        return load_object(self.reference, what="evaluator")


EVALUATORS: dict[str, EvaluatorEntry] = {
    "surrogate": EvaluatorEntry("nas.evaluators.surrogate:imagenet_evaluator", schedules=True),
    "table": EvaluatorEntry("nas.evaluators.table:read_table", table=True),
    "proxy": EvaluatorEntry("nas.evaluators.proxy:Proxy", images=True, trains=True),
    "inherited": EvaluatorEntry("nas.evaluators.inherited:Inherited", images=True),
    "supernet": EvaluatorEntry("nas.evaluators.supernet:Shared", images=True),
    "zero-cost": EvaluatorEntry("nas.evaluators.zero_cost:ZeroCost", images=True),
}
PLUGIN_BUDGET = 1_000  # budget of a user's strategy without an attribute `budget`


def strategy(name: str, space: SearchSpace, objective: Objective) -> Strategy:
    """Return the named strategy with default hyperparameters.

    "package.module:Name" and "path/to/file.py:Name" refer to your own strategy: an object with
    the methods of `nas.strategies.base.Strategy`, or a class or function that returns one. It
    receives the space and the objective if it has arguments.

    Raises ValueError for an unknown name; the message suggests the nearest.
    """
    if not is_reference(name, STRATEGIES):
        entry = STRATEGIES[one_of("strategy", name, STRATEGIES)]
        offered = {**entry.arguments, "space": space, "objective": objective}
        make = load_object(entry.reference, what="strategy")
        made: Strategy = called(make, what="strategy", **offered)
        return made
    found = load_object(name, what="strategy")
    if isinstance(found, type) or not hasattr(found, "propose"):
        found = _made(found, name, what="strategy", space=space, objective=objective)
    if not callable(getattr(found, "propose", None)):
        lacks = "has no method propose(history, count, rng); see docs/extend.md"
    elif not hasattr(found, "generation"):
        lacks = (
            "needs an attribute generation: the number of proposals per call, such as "
            "generation = 20"
        )
    else:
        return OwnStrategy(name, found)
    raise ValueError(f"strategy: {shortened(name)} {lacks}")


class OwnStrategy:
    """A user's strategy, whose mistakes become one-line errors with its name."""

    def __init__(self, name: str, own: Any) -> None:
        self.name, self._own = name, own
        self.generation = _whole(name, "generation", own.generation)
        self.budget = _whole(name, "budget", getattr(own, "budget", PLUGIN_BUDGET))

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return the proposals, int8 [n, decisions]; raises ValueError if they are invalid."""
        import numpy as np

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
    """Return the default budget of a strategy if evaluations are cheap."""
    known = STRATEGIES.get(name)
    return known.budget if known else int(getattr(strategy, "budget", PLUGIN_BUDGET))


def evaluator_entry(name: str) -> EvaluatorEntry:
    """Return the entry of the named evaluator without importing it.

    Raises ValueError for an unknown name; the message suggests the nearest.
    """
    if is_reference(name, EVALUATORS):
        return EvaluatorEntry(name, own=True)
    return EVALUATORS[one_of("evaluator", name, EVALUATORS)]


def evaluator(
    name: str,
    space: SearchSpace,
    *,
    table: str | None = None,
    table_column: str = "accuracy",
    schedule: str = "short",
) -> Evaluator:
    """Return the named evaluator, checked against the space.

    "package.module:Name" and "path/to/file.py:Name" refer to your own evaluator: a subclass of
    `nas.evaluators.base.Evaluator`, or a function that returns an instance. It receives the space
    if it has an argument.

    table         file of the evaluator "table".
    table_column  column of accuracies in that file.
    schedule      training schedule of the predicted accuracy, if the evaluator has several.

    Raises ValueError if the evaluator does not fit the arguments or the space, and for evaluators
    that measure on images, because only worker processes create these.
    """
    entry = evaluator_entry(name)
    if table is not None and not entry.table:
        raise ValueError(
            f"table: evaluator {name!r} reads no table; use the evaluator 'table', or leave "
            "the table out"
        )
    if entry.images:
        raise ValueError(f"evaluator: {name!r} measures on images; use it with nas.search --data")
    if entry.own:
        made = _plugin_evaluator(name, space)
    else:
        offered: dict[str, Any] = {"space": space, "schedule": schedule}
        if entry.table:
            if table is None:
                raise ValueError(f"table: the evaluator {name!r} needs a file; use --table FILE")
            offered = {"path": table, "space": space, "column": table_column}
        made = called(entry.load(), what="evaluator", **offered)
    made.check(space)
    return made


def _plugin_evaluator(name: str, space: SearchSpace) -> Evaluator:
    from nas.evaluators.base import Evaluator

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
