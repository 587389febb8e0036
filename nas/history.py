"""What a search has tried so far, as arrays: the only thing a strategy knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nas.columns import Columns
from nas.evaluators.base import Curve, Evaluations
from nas.key_set import KeySet
from nas.objective import Objective, pareto_front
from nas.step_accuracies import StepAccuracies
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

    revision counts how often rewards of old rows were revised. steps: accuracies by the step of the
    learning curves.
    """

    def __init__(self, space: SearchSpace, objective: Objective) -> None:
        self.space, self.objective = space, objective
        self.revision = 0
        self._keys = KeySet()
        self._pending = np.empty((0, len(space.choices)), np.int8)
        self._pending_keys: set[int] = set()
        self._front: tuple[int, np.ndarray] | None = None  # for that many rows
        self.steps = StepAccuracies()
        self._stopped = False  # whether any successful evaluation was stopped early
        numbers = dict.fromkeys(("accuracy", "std", "seconds", "reward", "fidelity"), np.float64)
        whole = dict.fromkeys(("seed", "images", *Cost._fields), np.int64)
        measured = dict.fromkeys(space.cost_names[len(Cost._fields) :], np.float64)
        texts = dict.fromkeys(("error", "curves"), object)
        types: dict[str, Any] = {**numbers, **whole, **measured, **texts}
        self._columns = Columns(
            {
                "genotypes": (np.int8, (len(space.choices),)),
                **{name: (dtype, ()) for name, dtype in types.items()},
            },
            {"error": "", "fidelity": 1.0, "seed": 0, "images": 0, "curves": ()},
        )

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def networks(self) -> int:
        """How many different networks were evaluated."""
        return len(self._keys)

    def extend(self, genotypes: np.ndarray, evaluations: Evaluations, costs: Costs) -> None:
        """Append evaluated genotypes [n, decisions] with their answers and costs."""
        accuracy = np.asarray(evaluations.accuracy, np.float64)
        reward = self.objective.reward(accuracy, costs)
        images = np.zeros(len(accuracy)) if evaluations.images is None else evaluations.images
        std = np.asarray(evaluations.std, np.float64)
        if np.isnan(std).any():
            std = np.where(np.isnan(std), accuracy_error(accuracy, images), std)
        curves = evaluations.curves if any(evaluations.curves or ()) else None
        rows = {
            "genotypes": genotypes,
            "accuracy": accuracy,
            "expected": accuracy,
            "std": std,
            "seconds": evaluations.seconds,
            "reward": np.where(np.isnan(reward), -np.inf, reward),
            "error": evaluations.error,
            "fidelity": evaluations.fidelity,
            "seed": evaluations.seed,
            "images": images,
            "curves": None if curves is None else _objects(curves),
            **{name: costs.get(name) for name in self.space.cost_names},
        }
        self._columns.append(len(accuracy), rows)
        self.steps.extend(len(accuracy), curves)
        self._keys.update(self.space.keys(genotypes))
        if evaluations.fidelity is not None:
            stopped = (np.asarray(evaluations.fidelity) < 1) & np.isfinite(accuracy)
            self._stopped = self._stopped or bool(stopped.any())
        self._expect()

    def _expect(self) -> None:
        """Estimate again what stopped evaluations would have come to, and their rewards.

        Each by what full evaluations gained on average between that step and their end. Those that
        were stopped were worse, and may have gained less: a friendly estimate, the same for all
        that stopped at one step, so that it never changes their order.
        """
        if not self._stopped:
            return
        if "expected" not in self._columns:
            self._columns.add("expected", self.accuracy)
        stopped = np.flatnonzero((self.fidelity < 1) & np.isfinite(self.accuracy))
        full, steps = self.full, self.steps.last[stopped]
        gains = np.zeros(len(stopped))
        for step in np.unique(steps).tolist():
            before = self.steps.at(step)
            passed = full & np.isfinite(before)
            if passed.any():
                gains[steps == step] = np.mean(self.accuracy[passed] - before[passed])
        expected = self.accuracy[stopped] + gains
        if not np.array_equal(expected, self.expected[stopped]):
            self.revision += 1
            self._columns.put("expected", stopped, expected)
            rewards = self.objective.reward(expected, self.costs[stopped])
            self._columns.put("reward", stopped, rewards)

    def contains(self, genotypes: np.ndarray) -> np.ndarray:
        """Which genotypes [n, decisions] were evaluated before or are pending, bool [n]."""
        keys = self.space.keys(genotypes)
        known = self._keys.contains(keys)
        if self._pending_keys:
            pending = map(self._pending_keys.__contains__, keys.tolist())
            known |= np.fromiter(pending, bool, len(keys))
        return known

    @property
    def pending(self) -> np.ndarray:
        """Genotypes that are being evaluated now, by any driver, int8 [p, decisions]."""
        return self._pending

    @pending.setter
    def pending(self, genotypes: np.ndarray) -> None:
        self._pending = genotypes
        self._pending_keys = set(self.space.keys(genotypes).tolist())

    def add_pending(self, genotype: np.ndarray) -> None:
        """One genotype [decisions] more is being evaluated now."""
        self._pending = np.concatenate([self._pending, genotype[None]])
        self._pending_keys.update(self.space.keys(genotype[None]).tolist())

    def _view(self, name: str) -> np.ndarray:
        return self._columns.view(name)

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
        return self._view("expected" if "expected" in self._columns else "accuracy")

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
        successful = self.full
        if not successful.any():
            failed = [reason for reason in self.error if reason]
            reason = f"; the first failed by {failed[0]}" if failed else ""
            raise ValueError(f"history: none of {len(self)} evaluations succeeded{reason}")
        if successful.all() and self.networks == len(self):
            return int(self.reward.argmax())
        full = np.flatnonzero(successful)
        if self.networks < len(self):
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
        if self.networks < len(self):  # something was repeated
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
        if self.networks == len(self) or not len(rows):
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
        if self._front is None or self._front[0] != len(self):
            whole = self.full.all()
            accuracy = self.accuracy if whole else np.where(self.full, self.accuracy, np.nan)
            if self.networks < len(self) and self.full.any():  # means, in first rows
                rows = np.flatnonzero(self.full)
                first, network, count = self._by_network(rows)
                accuracy = np.full(len(self), np.nan)
                accuracy[rows[first]] = np.bincount(network, weights=self.accuracy[rows]) / count
            cost = self.costs.get(self.objective.of)
            self._front = (len(self), pareto_front(accuracy, cost))
        return self._front[1]


def _objects(curves: Sequence[Curve]) -> np.ndarray:
    """Tuples as an object array [n]."""
    found = np.empty(len(curves), object)
    for row, curve in enumerate(curves):
        found[row] = curve
    return found
