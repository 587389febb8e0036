"""What a search has tried so far, as arrays: the only thing a strategy knows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nas.evaluators.base import Evaluations
from nas.objective import Objective, pareto_front
from search_spaces.cost import Cost, Costs
from search_spaces.space import SearchSpace


class Summary(NamedTuple):
    """What is known of one network: percent, points, reward, and evaluations behind them."""

    accuracy: float
    std: float
    reward: float
    evaluations: int


class History:
    """Evaluated genotypes in the order they ended, with accuracies, costs and rewards.

    Attributes are read-only views of n rows: genotypes int8 [n, decisions]; accuracy, std (both
    percent, NaN where failed), seconds and reward (-inf where failed) float64 [n]; costs; error
    object [n] of str ("" where none). Where evaluations may be stopped early: fidelity float64
    [n], the share of the steps that each got, and curves object [n] of tuples of `Point`; the
    accuracy is what was reached, the reward is of what was to be expected at the end
    (`expected_gain`). A network evaluated again (with another seed) is another row.
    """

    def __init__(self, space: SearchSpace, objective: Objective) -> None:
        self.space, self.objective = space, objective
        self._count = 0
        self._keys: set[int] = set()
        self._pending = np.empty((0, len(space.choices)), np.int8)
        self._pending_keys: frozenset[int] = frozenset()
        self._front: tuple[int, np.ndarray] | None = None  # for that many rows
        self._columns: dict[str, np.ndarray] = {
            "genotypes": np.empty((0, len(space.choices)), np.int8),
            "error": np.empty(0, object),
            "curves": np.empty(0, object),
        }
        for name in ("accuracy", "std", "seconds", "reward", "fidelity"):
            self._columns[name] = np.empty(0, np.float64)
        for name in space.cost_names:
            whole = name in Cost._fields
            self._columns[name] = np.empty(0, np.int64 if whole else np.float64)

    def __len__(self) -> int:
        return self._count

    @property
    def networks(self) -> int:
        """How many different networks were evaluated."""
        return len(self._keys)

    def extend(self, genotypes: np.ndarray, evaluations: Evaluations, costs: Costs) -> None:
        """Append evaluated genotypes [n, decisions] with their answers and costs."""
        accuracy = np.asarray(evaluations.accuracy, np.float64)
        error, fidelity = evaluations.error, evaluations.fidelity
        rows = {
            "genotypes": genotypes,
            "accuracy": accuracy,
            "std": evaluations.std,
            "seconds": evaluations.seconds,
            "error": np.full(len(accuracy), "", object) if error is None else error,
            "fidelity": 1.0 if fidelity is None else fidelity,
            **{name: costs.get(name) for name in self.space.cost_names},
        }
        end = self._count + len(accuracy)
        self._reserve(end)
        for name, values in rows.items():
            self._columns[name][self._count : end] = values
        self._columns["curves"][self._count : end].fill(())
        for row, curve in enumerate(evaluations.curves or ()):
            self._columns["curves"][self._count + row] = curve
        self._keys.update(self.space.keys(genotypes).tolist())
        self._reward(end, costs)

    def _reward(self, end: int, costs: Costs) -> None:
        """Reward the rows from the present count to `end`, and count them.

        What a row that was stopped had to gain depends on the rows before it only, however many
        are appended at once.
        """
        start, new = self._count, slice(self._count, end)
        expected = self._columns["accuracy"][new].copy()
        for row in np.flatnonzero(self._columns["fidelity"][new] < 1):
            self._count = start + int(row)
            if curve := self._columns["curves"][self._count]:
                expected[row] += self.expected_gain(curve[-1].step)
        self._count = end
        reward = self.objective.reward(expected, costs)
        self._columns["reward"][new] = np.where(np.isnan(reward), -np.inf, reward)

    def expected_gain(self, step: int) -> float:
        """Mean points that full evaluations gained between that step and their end; 0.0 if none.

        Those that were stopped were worse, and may have gained less: a friendly estimate, the same
        for all that stopped at one step, so that it never changes their order.
        """
        gained = [
            self.accuracy[row] - point.accuracy
            for row in np.flatnonzero(self.full)
            for point in self.curves[row]
            if point.step == step
        ]
        return float(np.mean(gained)) if gained else 0.0

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
        """Which genotypes [n, decisions] were evaluated before or are pending, bool [n]."""
        known = self._keys | self._pending_keys if self._pending_keys else self._keys
        keys = self.space.keys(genotypes).tolist()
        return np.fromiter(map(known.__contains__, keys), bool, len(keys))

    @property
    def pending(self) -> np.ndarray:
        """Genotypes that are being evaluated now, by whoever, int8 [p, decisions]."""
        return self._pending

    @pending.setter
    def pending(self, genotypes: np.ndarray) -> None:
        self._pending = genotypes
        self._pending_keys = frozenset(self.space.keys(genotypes).tolist())

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
    def fidelity(self) -> np.ndarray:
        return self._view("fidelity")

    @property
    def curves(self) -> np.ndarray:
        return self._view("curves")

    @property
    def full(self) -> np.ndarray:
        """Which evaluations succeeded and were not stopped early, bool [n]."""
        return np.isfinite(self.accuracy) & (self.fidelity >= 1)

    @property
    def costs(self) -> Costs:
        extra = {name: self._view(name) for name in self.space.cost_names[len(Cost._fields) :]}
        flops, params, activations = (self._view(name) for name in Cost._fields)
        return Costs(flops, params, activations, extra)

    def best(self) -> int:
        """Row of the network of highest reward, the first of equals, among full evaluations.

        Of a network with repeats, the mean counts. ValueError while nothing succeeded.
        """
        full = np.flatnonzero(self.full)
        if not len(full):
            failed = [reason for reason in self.error if reason]
            reason = f"; the first failed by {failed[0]}" if failed else ""
            raise ValueError(f"history: none of {self._count} evaluations succeeded{reason}")
        return int(full[self.mean_reward(full).argmax()])

    def summary(self, row: int) -> Summary:
        """What is known of the network of a row: means over its full evaluations.

        The deviation is that of the accuracies where there are several, else the row's own.
        """
        same = np.zeros(self._count, bool)
        if self.networks < self._count:  # something was repeated
            same = self.full & (self.genotypes == self.genotypes[row]).all(1)
        if same.sum() < 2:
            accuracy, std, reward = self.accuracy[row], self.std[row], self.reward[row]
            return Summary(float(accuracy), float(std), float(reward), 1)
        known = self.accuracy[same]
        spread = float(known.std(ddof=1))
        return Summary(float(known.mean()), spread, float(self.reward[same].mean()), len(known))

    def mean_reward(self, rows: np.ndarray) -> np.ndarray:
        """For each of the rows [k], the mean reward of the rows of its network, [k]."""
        if self.networks == self._count:  # nothing was repeated
            return self.reward[rows]
        keys = self.space.keys(self.genotypes[rows])
        _, network = np.unique(keys, return_inverse=True)
        totals = np.bincount(network, weights=self.reward[rows])
        return (totals / np.bincount(network))[network]

    def front(self) -> np.ndarray:
        """Rows of the Pareto front of accuracy against the cost that is aimed at, by rising cost.

        Full evaluations only.
        """
        if self._front is None or self._front[0] != self._count:
            accuracy = np.where(self.full, self.accuracy, np.nan)
            self._front = (self._count, pareto_front(accuracy, self.costs.get(self.objective.of)))
        return self._front[1]
