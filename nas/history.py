"""What a search has tried so far, as arrays: the only thing a strategy knows."""

from __future__ import annotations

import numpy as np

from nas.evaluators.base import Evaluations
from nas.objective import Objective, pareto_front
from search_spaces.cost import Cost, Costs
from search_spaces.space import SearchSpace


class History:
    """Evaluated genotypes in order, with accuracies, costs and rewards.

    Attributes are read-only views of n rows: genotypes int8 [n, decisions]; accuracy, std (both
    percent, NaN where failed), seconds and reward (-inf where failed) float64 [n]; costs; error
    object [n] of str ("" where none).
    """

    def __init__(self, space: SearchSpace, objective: Objective) -> None:
        self.space, self.objective = space, objective
        self._count = 0
        self._keys: set[int] = set()
        self._front: tuple[int, np.ndarray] | None = None  # for that many rows
        self._columns: dict[str, np.ndarray] = {
            "genotypes": np.empty((0, len(space.choices)), np.int8),
            "error": np.empty(0, object),
        }
        for name in ("accuracy", "std", "seconds", "reward"):
            self._columns[name] = np.empty(0, np.float64)
        for name in Cost._fields:
            self._columns[name] = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._count

    def extend(self, genotypes: np.ndarray, evaluations: Evaluations, costs: Costs) -> None:
        """Append evaluated genotypes [n, decisions] with their answers and costs."""
        accuracy = np.asarray(evaluations.accuracy, np.float64)
        reward = self.objective.reward(accuracy, costs)
        error = evaluations.error
        rows = {
            "genotypes": genotypes,
            "accuracy": accuracy,
            "std": evaluations.std,
            "seconds": evaluations.seconds,
            "reward": np.where(np.isnan(reward), -np.inf, reward),
            "error": np.full(len(accuracy), "", object) if error is None else error,
            **{name: getattr(costs, name) for name in Cost._fields},
        }
        end = self._count + len(accuracy)
        self._reserve(end)
        for name, values in rows.items():
            self._columns[name][self._count : end] = values
        self._keys.update(self.space.keys(genotypes).tolist())
        self._count = end

    def _reserve(self, rows: int) -> None:
        """Room for that many rows, doubling so that appending costs constant time on average."""
        if rows <= len(self._columns["accuracy"]):
            return
        room = max(1024, rows, 2 * len(self._columns["accuracy"]))
        for name, column in self._columns.items():
            grown = np.empty((room, *column.shape[1:]), column.dtype)
            grown[: self._count] = column[: self._count]
            self._columns[name] = grown

    def contains(self, genotypes: np.ndarray) -> np.ndarray:
        """Which genotypes [n, decisions] were evaluated before, bool [n]."""
        known = self._keys
        keys = self.space.keys(genotypes).tolist()
        return np.fromiter(map(known.__contains__, keys), bool, len(keys))

    def _view(self, name: str) -> np.ndarray:
        view = self._columns[name][: self._count]
        view.flags.writeable = False
        return view

    @property
    def genotypes(self) -> np.ndarray:
        return self._view("genotypes")

    @property
    def accuracy(self) -> np.ndarray:
        return self._view("accuracy")

    @property
    def std(self) -> np.ndarray:
        return self._view("std")

    @property
    def seconds(self) -> np.ndarray:
        return self._view("seconds")

    @property
    def reward(self) -> np.ndarray:
        return self._view("reward")

    @property
    def error(self) -> np.ndarray:
        return self._view("error")

    @property
    def costs(self) -> Costs:
        return Costs(*(self._view(name) for name in Cost._fields))

    def best(self) -> int:
        """Row of the highest reward, the first of equals; ValueError while nothing succeeded."""
        if not self._count or not np.isfinite(self.reward.max()):
            failed = [reason for reason in self.error if reason]
            reason = f"; the first failed by {failed[0]}" if failed else ""
            raise ValueError(f"history: none of {self._count} evaluations succeeded{reason}")
        return int(self.reward.argmax())

    def front(self) -> np.ndarray:
        """Rows of the Pareto front of accuracy against FLOPs, by rising FLOPs."""
        if self._front is None or self._front[0] != self._count:
            self._front = (self._count, pareto_front(self.accuracy, self.costs.flops))
        return self._front[1]
