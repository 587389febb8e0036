"""Rows of a search's tables: found, published and measured networks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nas.evaluators.base import Evaluator
from nas.history import History
from search_spaces.cost import Cost, Costs


class Row(NamedTuple):
    """One network of a table; accuracies are in percent and NaN if unknown.

    std          standard deviation of the accuracy.
    measured     measured accuracy of exactly this network.
    costs        costs by name.
    cost_errors  standard deviations of predicted costs, by name.
    """

    name: str
    genotype: np.ndarray
    accuracy: float
    std: float
    measured: float
    costs: dict[str, float]
    reward: float
    cost_errors: dict[str, float]


def rows(history: History, evaluator: Evaluator) -> list[Row]:
    """Return the found networks, the published networks of the space, and the best measured ones.

    The found networks are the one of highest reward, the most accurate one, and for each published
    network the most accurate one that costs no more.
    """
    best = history.best()
    # networks with several seeds are compared by their means, not with single lucky trainings
    again = history.networks < len(history) and history.reward[history.full].max() > (
        history.summary(best).reward
    )
    found = {"best mean reward" if again else "best reward": best}
    front = history.front()
    found["top accuracy"] = int(front[-1])
    references = reference_rows(history, evaluator)
    spent, of = history.costs.get(history.objective.of), history.objective.of
    for reference in references:
        within = front[spent[front] <= reference.costs[of]]
        if len(within):
            found[f"≤ {reference.name}"] = int(within[-1])
    listed, seen = [], set()
    for name, row in found.items():
        if row not in seen:
            seen.add(row)
            listed.append(_found_row(f"found: {name}", row, history, evaluator))
    return [*listed, *references, *measured_rows(history, evaluator)]


def reference_rows(history: History, evaluator: Evaluator) -> list[Row]:
    """Return the published networks of the space with the evaluator's accuracies."""
    space = history.space
    return [
        _row(name, space.encode(choices), history, evaluator)
        for name, choices in space.references.items()
    ]


def measured_rows(history: History, evaluator: Evaluator, *, count: int = 3) -> list[Row]:
    """Return the `count` measured networks of highest reward within the limits."""
    if evaluator.measured is None:
        return []
    genotypes, accuracy = evaluator.measured.genotypes, evaluator.measured.accuracy
    costs = history.space.costs(genotypes)
    reward = history.objective.reward(accuracy, costs)
    reward[~history.objective.feasible(costs)] = -np.inf
    best = np.argsort(-reward, kind="stable")[:count]
    return [  # with the rewards of the measured accuracies, by which they are ranked
        _row(f"best measured {place}", genotypes[row], history, evaluator)._replace(
            reward=reward[row]
        )
        for place, row in enumerate(best, 1)
        if np.isfinite(reward[row])
    ]


def _row(name: str, genotype: np.ndarray, history: History, evaluator: Evaluator) -> Row:
    """Return the row of a genotype, which is evaluated for the report if that is cheap."""
    costs = history.space.costs(genotype[None])
    accuracy = std = np.nan
    if evaluator.instant:
        answer = evaluator.evaluate(history.space, genotype[None])
        accuracy, std = float(answer.accuracy[0]), float(answer.std[0])
    reward = float(history.objective.reward(np.array([accuracy]), costs)[0])
    measured = _measured(genotype, evaluator)
    errors = _errors(genotype, history)
    return Row(name, genotype, accuracy, std, measured, _first(costs), reward, errors)


def _found_row(name: str, row: int, history: History, evaluator: Evaluator) -> Row:
    """Return the row of a network of the history; means for several seeds."""
    genotype = history.genotypes[row]
    summary = history.summary(row)
    measured = _measured(genotype, evaluator)
    costs = _first(history.costs[row : row + 1])
    return Row(
        name,
        genotype,
        summary.accuracy,
        summary.std,
        measured,
        costs,
        summary.reward,
        _errors(genotype, history),
    )


def _measured(genotype: np.ndarray, evaluator: Evaluator) -> float:
    """Return the measured accuracy of exactly this network; NaN if there is none."""
    if evaluator.measured is None:
        return np.nan
    same = (evaluator.measured.genotypes == genotype).all(1)
    return float(evaluator.measured.accuracy[same].mean()) if same.any() else np.nan


def _errors(genotype: np.ndarray, history: History) -> dict[str, float]:
    """Return the standard deviations of predicted costs."""
    errors = history.space.cost_errors(genotype[None])
    return {name: float(values[0]) for name, values in errors.items()}


def _first(costs: Costs) -> dict[str, float]:
    names = (*Cost._fields, *costs.extra)
    return {name: costs.get(name)[0].item() for name in names}
