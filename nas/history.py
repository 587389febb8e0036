"""What a search has tried so far, as arrays: the only thing a strategy knows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nas.evaluators.base import Evaluations
from nas.objective import Objective, pareto_front
from search_spaces.cost import Cost, Costs
from search_spaces.space import SearchSpace
from vbs.accuracy import Lead, accuracy_error, lead, mean_error, paired_variance, pooled_deviation


class Summary(NamedTuple):
    """What is known of one network, and how many evaluations stand behind it.

    accuracy  percent, the mean of its full evaluations.
    std       its error in points, one standard deviation: of a single evaluation what the evaluator
              states, else the binomial error of the images, which leaves out what another
              training would change; of several `vbs.accuracy.mean_error`. NaN where unknown.
    reward    the mean of its rewards.
    """

    accuracy: float
    std: float
    reward: float
    evaluations: int


class History:
    """Evaluated genotypes in the order they ended, with accuracies, costs and rewards.

    Attributes are read-only views of n rows: genotypes int8 [n, decisions]; accuracy, std (both
    percent, NaN where failed), seconds and reward (-inf where failed) float64 [n]; costs; error
    object [n] of str ("" where none); images int64 [n], on which each accuracy was read (0:
    unknown). Where an evaluator states no std, it is the binomial error of the images: a training
    with another seed differs by more. Where evaluations may be stopped early: fidelity float64
    [n], the share of the steps that each got, and curves object [n] of tuples of `Point`; the
    accuracy is what was reached, `expected` what it would have come to, which the reward is of. A
    network evaluated again, with another seed (int64 [n]), is another row.

    revision counts how often rewards of old rows were revised.
    """

    def __init__(self, space: SearchSpace, objective: Objective) -> None:
        self.space, self.objective = space, objective
        self.revision = 0
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
        for name in ("accuracy", "expected", "std", "seconds", "reward", "fidelity"):
            self._columns[name] = np.empty(0, np.float64)
        for name in ("seed", "images"):
            self._columns[name] = np.empty(0, np.int64)
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
        reward = self.objective.reward(accuracy, costs)
        images = np.zeros(len(accuracy)) if evaluations.images is None else evaluations.images
        std = np.asarray(evaluations.std, np.float64)
        if np.isnan(std).any():
            std = np.where(np.isnan(std), accuracy_error(accuracy, images), std)
        rows = {
            "genotypes": genotypes,
            "accuracy": accuracy,
            "expected": accuracy,
            "std": std,
            "seconds": evaluations.seconds,
            "reward": np.where(np.isnan(reward), -np.inf, reward),
            "error": np.full(len(accuracy), "", object) if error is None else error,
            "fidelity": 1.0 if fidelity is None else fidelity,
            "seed": 0 if evaluations.seed is None else evaluations.seed,
            "images": images,
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
        self._count = end
        self._expect()

    def _expect(self) -> None:
        """Estimate again what stopped evaluations would have come to, and their rewards.

        Each by what full evaluations gained on average between that step and their end. Those that
        were stopped were worse, and may have gained less: a friendly estimate, the same for all
        that stopped at one step, so that it never changes their order.
        """
        stopped = np.flatnonzero((self.fidelity < 1) & np.isfinite(self.accuracy))
        if not len(stopped):
            return
        gains: dict[int, list[float]] = {}
        for row in np.flatnonzero(self.full):
            for point in self.curves[row]:
                if np.isfinite(point.accuracy):
                    gains.setdefault(point.step, []).append(self.accuracy[row] - point.accuracy)
        steps = [self.curves[row][-1].step if self.curves[row] else 0 for row in stopped]
        expected = self.accuracy[stopped] + [np.mean(gains.get(step, [0.0])) for step in steps]
        if not np.array_equal(expected, self.expected[stopped]):
            self.revision += 1
            self._columns["expected"][stopped] = expected
            rewards = self.objective.reward(expected, self.costs[stopped])
            self._columns["reward"][stopped] = rewards

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
        """Genotypes that are being evaluated now, by any driver, int8 [p, decisions]."""
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
    def expected(self) -> np.ndarray:
        return self._view("expected")

    @property
    def seed(self) -> np.ndarray:
        return self._view("seed")

    @property
    def images(self) -> np.ndarray:
        return self._view("images")

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

        Where networks were evaluated again, only those that were most often compete, by their
        means: the best of many single evaluations is mostly a lucky one. ValueError while nothing
        succeeded.
        """
        full = np.flatnonzero(self.full)
        if not len(full):
            failed = [reason for reason in self.error if reason]
            reason = f"; the first failed by {failed[0]}" if failed else ""
            raise ValueError(f"history: none of {self._count} evaluations succeeded{reason}")
        if self.networks < self._count:
            first, network, count = self._by_network(full)
            often = first[count == count.max()]
            means = np.bincount(network, weights=self.reward[full]) / count
            return int(full[often[means[count == count.max()].argmax()]])
        return int(full[self.reward[full].argmax()])

    def _by_network(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of rows [k]: the first of each network, as indices of `rows`; the network of each [k];
        and how many each network has. Networks in the order of their first rows."""
        keys = self.space.keys(self.genotypes[rows])
        _, first, network, count = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.argsort(first)
        return first[order], np.argsort(order)[network], count[order]

    def summary(self, row: int) -> Summary:
        """What is known of the network of a row: means over its full evaluations."""
        same = None
        if self.networks < self._count:  # something was repeated
            same = self.full & (self.genotypes == self.genotypes[row]).all(1)
        if same is None or same.sum() < 2:
            accuracy, std, reward = self.accuracy[row], self.std[row], self.reward[row]
            return Summary(float(accuracy), float(std), float(reward), 1)
        known = self.accuracy[same]
        error = mean_error(known.tolist(), int(self.images[same].min()))
        return Summary(float(known.mean()), error, float(self.reward[same].mean()), len(known))

    def deviation(self) -> float:
        """Deviation between trainings of one network, pooled over all that were evaluated again;
        NaN where none was."""
        rows = np.flatnonzero(self.full)
        if self.networks == self._count or not len(rows):
            return math.nan
        _, network, _ = self._by_network(rows)
        order = np.argsort(network, kind="stable")
        ends = np.flatnonzero(np.diff(network[order])) + 1
        return pooled_deviation(
            [part.tolist() for part in np.split(self.accuracy[rows[order]], ends)]
        )

    def lead(self) -> Lead:
        """How far `best` is ahead of the networks that competed with it, in points of reward.

        By the paired error of rewards (`vbs.accuracy.paired_variance`): all were scored on the
        same images. Of single evaluations whose images are not known nothing is clear.
        """
        rows = np.flatnonzero(self.full)
        first, network, count = self._by_network(rows)
        means = np.bincount(network, weights=self.reward[rows]) / count
        accuracy = np.bincount(network, weights=self.accuracy[rows]) / count
        often = np.flatnonzero(count == count.max())
        rows, means, accuracy, count = (
            rows[first[often]],
            means[often],
            accuracy[often],
            count[often],
        )
        variance = paired_variance(accuracy, self.images[rows], self.deviation(), trainings=count)
        # what a point of accuracy is worth in reward
        worth = self.objective.reward(accuracy + 0.5, self.costs[rows]) - self.objective.reward(
            accuracy - 0.5, self.costs[rows]
        )
        return lead(means, variance * worth**2, best=int(means.argmax()))

    def front(self) -> np.ndarray:
        """Rows of the Pareto front of accuracy against the cost that is aimed at, by rising cost.

        Full evaluations only.
        """
        if self._front is None or self._front[0] != self._count:
            accuracy = np.where(self.full, self.accuracy, np.nan)
            if self.networks < self._count and self.full.any():  # means, in first rows
                rows = np.flatnonzero(self.full)
                first, network, count = self._by_network(rows)
                accuracy = np.full(self._count, np.nan)
                accuracy[rows[first]] = np.bincount(network, weights=self.accuracy[rows]) / count
            cost = self.costs.get(self.objective.of)
            self._front = (self._count, pareto_front(accuracy, cost))
        return self._front[1]
