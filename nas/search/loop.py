"""The search loop: propose, evaluate, record.

    propose -> feasible and new? -> evaluate -> extend the history -> record

Proposals are a function of the history and of a generator seeded with (seed, evaluations so far),
so a search that is interrupted between batches and resumed gives the same result as an
uninterrupted one. They do not depend on the budget: a strategy always proposes a whole batch, of
which the budget may cut off the end. A search that is resumed with a larger budget proposes this
batch again and evaluates the rest. It therefore gives the same result as a search that had the
larger budget from the start. Strategies with a state of their own (Optuna's samplers) are an
exception: resumed, they begin a new batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator
from nas.history import Cut, History
from nas.objective import Objective
from nas.strategies.base import Strategy, admitted, fresh
from search_spaces.cost import Cost, Costs, cost_label, cost_text, is_measured, split_cost
from search_spaces.space import SearchSpace
from vbs.failures import infrastructure_error, is_infrastructure, reason_of
from vbs.text import quoted
from vbs.units import parse_quantity

PATIENCE = 10  # proposals in a row without a new network after which a search ends


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options of a search loop.

    seed     seed of the proposals; the same seed gives the same search.
    workers  networks per batch if evaluations are expensive; batches of cheap evaluations have
             the size that the strategy prefers.
    record   function that is called with the history after every extension.
    history  history of a search to continue, extended in place; None for a new search.
    """

    seed: int = 0
    workers: int = 1
    record: Callable[[History], None] | None = None
    history: History | None = None

    def __post_init__(self) -> None:
        check_whole(workers=self.workers)


def search(
    space: SearchSpace,
    evaluator: Evaluator,
    objective: Objective,
    strategy: Strategy,
    budget: int,
    options: LoopOptions | None = None,
) -> History:
    """Evaluate up to `budget` distinct feasible networks and return their history.

    options  None for `LoopOptions()`.

    The search ends early if no new feasible network is found. Raises ValueError if the evaluator
    does not support the space, if no network within the limits is found, or if the history in the
    options belongs to another search.
    """
    options = options or LoopOptions()
    check_whole(budget=budget)
    evaluator.check(space)
    history = History(space, objective) if options.history is None else options.history
    if history.space is not space or history.objective != objective:
        raise ValueError("history: it belongs to a search with another space or objective")
    batches = _Batches(strategy, evaluator, options.seed, options.workers)
    stalled = 0
    while len(history) < budget and stalled < PATIENCE:
        cut = history.cut or Cut(len(history), stalled)
        proposals, costs = batches.rest(history, cut)
        if not len(proposals):
            if not len(history):
                check_limits(space, objective, resizable=not evaluator.cheap)
            history.cut = None
            stalled += cut.start == len(history)  # the rest of an earlier batch may be empty
            continue
        left = budget - len(history)
        cut_off = len(proposals) > left
        proposals, costs = proposals[:left], costs[:left]
        stalled = 0
        history.extend(proposals, answers(evaluator, space, proposals), costs)
        history.cut = cut if cut_off else None
        if options.record is not None:
            options.record(history)
    if not len(history):
        raise ValueError(f"limits: no network was found within {objective.limits_text}")
    return history


@dataclass(frozen=True)
class _Batches:
    """The batches of proposals of a search; `workers` is their size if evaluations are slow."""

    strategy: Strategy
    evaluator: Evaluator
    seed: int
    workers: int

    def rest(self, history: History, cut: Cut) -> tuple[np.ndarray, Costs]:
        """Return the genotypes [n, decisions] of a batch that are not evaluated, and their costs.

        No genotypes are returned if the strategy proposes another batch than it did before.
        """
        if cut.start == len(history):
            return self._proposed(history, cut)
        known = history.genotypes[cut.start :]
        batch, costs = self._proposed(history.first(cut.start), cut)
        same = np.array_equal(batch[: len(known)], known)
        return (batch[len(known) :], costs[len(known) :]) if same else (batch[:0], costs[:0])

    def _proposed(self, history: History, cut: Cut) -> tuple[np.ndarray, Costs]:
        """Return new feasible genotypes [n, decisions] and their costs."""
        rng = np.random.default_rng([self.seed, cut.start, cut.stalled])
        size = self.strategy.generation if self.evaluator.cheap else self.workers
        # batches end at multiples of their size, so that a search resumed there is unchanged
        count = size - cut.start % size
        proposals = self.strategy.propose(history, count, rng)
        if self.evaluator.pooled:
            assert self.evaluator.measured is not None  # implied by `pooled`
            proposals = nearest_in_pool(proposals, self.evaluator.measured.genotypes, history)
        return admitted(proposals[:count], history)


def check_whole(**values: int) -> None:
    """Raise ValueError unless all values are whole numbers from 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: {value!r} is not allowed; use a whole number from 1")


def answers(evaluator: Evaluator, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
    """Evaluate genotypes [n, decisions]; a failure becomes a row with its reason.

    A batch that raises an exception is evaluated again row by row, so only the failing rows fail.
    Raises ValueError if the evaluator returns anything but one evaluation per genotype.
    """
    try:
        evaluations = evaluator.evaluate(space, genotypes)
    except Exception as error:  # an error of a user's evaluator is a failed evaluation
        if is_infrastructure(error):
            raise infrastructure_error(error) from error
        if len(genotypes) > 1:
            rows = [answers(evaluator, space, genotype[None]) for genotype in genotypes]
            return joined(rows)
        return failed(reason_of(error))
    if not isinstance(evaluations, Evaluations):
        raise ValueError(
            f"evaluator: {type(evaluator).__name__} returned {quoted(evaluations, 60)}; return "
            "nas.evaluators.base.Evaluations"
        )
    if len(evaluations) != len(genotypes):
        raise ValueError(
            f"evaluator: {type(evaluator).__name__} returned {len(evaluations)} evaluations "
            f"for {len(genotypes)} genotypes; return one for each"
        )
    if evaluations.images is None and evaluator.scored_on:
        images = np.full(len(evaluations), evaluator.scored_on)
        evaluations = dataclasses.replace(evaluations, images=images)
    return checked(evaluations)


def failed(reason: str) -> Evaluations:
    """Return one failed row."""
    nothing = np.array([np.nan])
    return Evaluations(nothing, nothing, np.zeros(1), np.array([reason], object))


def checked(evaluations: Evaluations) -> Evaluations:
    """Return the evaluations with a reason of failure for each accuracy that is not finite."""
    accuracy = np.array(evaluations.accuracy, np.float64)
    finite = np.isfinite(accuracy)
    if finite.all() and evaluations.error is None:
        return evaluations
    reasons = [None] * len(accuracy) if evaluations.error is None else evaluations.error
    error = [
        str(reason or ("" if fine else f"accuracy is {value}"))
        for reason, fine, value in zip(reasons, finite, accuracy, strict=True)
    ]
    accuracy[~finite] = np.nan
    return dataclasses.replace(evaluations, accuracy=accuracy, error=np.array(error, object))


def joined(rows: list[Evaluations]) -> Evaluations:
    """Concatenate evaluations."""
    return Evaluations(
        accuracy=np.concatenate([row.accuracy for row in rows]),
        std=np.concatenate([row.std for row in rows]),
        seconds=np.concatenate([row.seconds for row in rows]),
        error=np.concatenate([[""] if row.error is None else row.error for row in rows]),
        images=np.concatenate([[0] if row.images is None else row.images for row in rows]),
    )


def nearest_in_pool(proposals: np.ndarray, pool: np.ndarray, history: History) -> np.ndarray:
    """Return for each proposal the nearest feasible new genotype of the pool, each at most once."""
    pool = fresh(pool, history)
    taken = np.zeros(len(pool), bool)
    for proposal in proposals:
        if taken.all():
            break
        distance = (pool != proposal).sum(1) + taken * (pool.shape[1] + 1)
        taken[distance.argmin()] = True
    return pool[taken]


def check_limits(space: SearchSpace, objective: Objective, *, resizable: bool = True) -> None:
    """Raise ValueError if a limit is below the range of the space.

    resizable  whether the evaluator supports another input size; the message then suggests one.
    """
    for name, largest in objective.all_limits:
        low, high = space.cost_range(name)
        if largest < low:
            side = space.resolution
            kind, device = split_cost(name)
            rate = kind == "image_time"  # shown as a lower limit of images/s
            beyond, hint = ("above", "use a lower one") if rate else ("below", "use a higher one")
            where, label = "", cost_label(name)
            verb = "range" if name in Cost._fields else "ranges"  # flops, params are plural
            if side is not None and name != "params":
                where = f" at {side} px"
                hint += "" if device or not resizable else ", or lower --resolution"
            if guess := _with_unit(largest, low, high) if name in Cost._fields else "":
                hint = f"did you mean {guess}?"
            ends = (
                [_shown(name, high), _shown(name, low)]
                if rate
                else [_shown(name, low), _shown(name, high)]
            )
            raise ValueError(
                f"{label}: a limit of {_shown(name, largest)} is {beyond} the range of space "
                f"{space.name!r}{where}; its {label} {verb} from {ends[0]} to {ends[1]}; "
                f"{hint}"
            )


def _with_unit(value: float, low: float, high: float) -> str:
    """Return a number below 1000 with the unit that puts it into a range, as 400M; "" if none."""
    fitting = [unit for unit in "KMG" if low <= parse_quantity(f"{value:.10g}{unit}") <= high]
    return f"{value:.10g}{fitting[0]}" if value < 1000 and fitting else ""


def _shown(name: str, value: float) -> str:
    return cost_text(name, value) if is_measured(name) else f"{value:,.10g}"
