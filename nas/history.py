"""The history of a search: evaluated networks with accuracies, costs and rewards, as arrays.

A strategy proposes networks from the history and nothing else. `history_file` reads and writes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    """Means over the full evaluations of one network.

    accuracy     mean accuracy in percent.
    std          standard deviation of the accuracy in points; NaN if unknown. For several
                 evaluations, `vbs.accuracy.mean_error`. For a single one, the evaluator's value or
                 the binomial error of the images, without the variance between trainings.
    reward       mean reward.
    evaluations  number of evaluations.
    """

    accuracy: float
    std: float
    reward: float
    evaluations: int


@dataclass(frozen=True)
class Cut:
    """The last batch of proposals, of which only a part fitted into the budget.

    start    number of evaluations before the batch.
    stalled  number of consecutive batches before it that contained no new network.
    """

    start: int
    stalled: int

    def __post_init__(self) -> None:
        if self.start < 0 or self.stalled < 0:
            raise ValueError(f"cut: {self} is not allowed; use numbers from 0")


class History:
    """Evaluated genotypes in order of completion, with accuracies, costs and rewards.

    A network that is evaluated again with another seed is another row. The attributes are read-only
    views of n rows:

    genotypes  int8 [n, decisions].
    accuracy   float64 [n], percent at the end of the evaluation or where it was stopped early; NaN
               for failed evaluations.
    std        float64 [n], standard deviation of the accuracy in points: the evaluator's value or
               the binomial error of the images, without the variance between trainings.
    expected   float64 [n], accuracy expected at the end of a full evaluation.
    seconds    float64 [n], duration of the evaluation.
    reward     float64 [n], reward of `expected`; -inf for failed evaluations.
    costs      costs of the networks.
    error      object [n] of str, reason of a failure; "" for successful evaluations.
    images     int64 [n], number of images that the accuracy was computed on; 0 if unknown.
    fidelity   float64 [n], share of the steps that were evaluated.
    curves     object [n], tuples of `Point`.
    seed       int64 [n].

    `revision` is the number of times that rewards of old rows were revised. `steps` contains the
    accuracies by the step of the learning curves. `cut` is the last batch if the budget cut off its
    end, otherwise None.
    """

    def __init__(self, space: SearchSpace, objective: Objective) -> None:
        self.space, self.objective = space, objective
        self.revision = 0
        self.cut: Cut | None = None
        self._keys = KeySet()
        self._pending = np.empty((0, len(space.choices)), np.int8)
        self._pending_keys: set[int] = set()
        self._front: tuple[int, np.ndarray] | None = None  # number of rows, front
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
        """Number of distinct networks."""
        return len(self._keys)

    def extend(self, genotypes: np.ndarray, evaluations: Evaluations, costs: Costs) -> None:
        """Append evaluated genotypes [n, decisions] with their evaluations and costs."""
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

    def first(self, count: int) -> History:
        """Return a new history of the first `count` rows."""
        rows, found = slice(count), History(self.space, self.objective)
        if not count:
            return found
        evaluations = Evaluations(
            self.accuracy[rows],
            self.std[rows],
            self.seconds[rows],
            self.error[rows],
            fidelity=self.fidelity[rows],
            curves=tuple(self.curves[rows]),
            seed=self.seed[rows],
            images=self.images[rows],
        )
        found.extend(self.genotypes[rows], evaluations, self.costs[rows])
        return found

    def _expect(self) -> None:
        """Update the expected accuracies and rewards of evaluations that were stopped early.

        The mean gain of full evaluations from the same step to their end is added. This is
        optimistic, because stopped evaluations were worse and may have gained less. The gain is
        equal for all evaluations that were stopped at the same step, so their order is unchanged.
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
        """Return which genotypes [n, decisions] were evaluated or are pending, bool [n]."""
        return self.contains_keys(self.space.keys(genotypes))

    def contains_keys(self, keys: np.ndarray) -> np.ndarray:
        """Return which networks were evaluated or are pending, by their `SearchSpace.keys` [n]."""
        known = self._keys.contains(keys)
        if self._pending_keys:
            pending = map(self._pending_keys.__contains__, keys.tolist())
            known |= np.fromiter(pending, bool, len(keys))
        return known

    @property
    def pending(self) -> np.ndarray:
        """Genotypes that any driver is evaluating, int8 [p, decisions]."""
        return self._pending

    @pending.setter
    def pending(self, genotypes: np.ndarray) -> None:
        self._pending = genotypes
        self._pending_keys = set(self.space.keys(genotypes).tolist())

    def add_pending(self, genotype: np.ndarray) -> None:
        """Add a pending genotype [decisions]."""
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
        """Mask of evaluations that succeeded and were not stopped early, bool [n]."""
        return np.isfinite(self.accuracy) & (self.fidelity >= 1)

    @property
    def costs(self) -> Costs:
        extra = {name: self._view(name) for name in self.space.cost_names[len(Cost._fields) :]}
        flops, params, activations = (self._view(name) for name in Cost._fields)
        return Costs(flops, params, activations, extra)

    def best(self) -> int:
        """Return the row of the full evaluation of highest reward; of equal ones, the first.

        If networks were evaluated with several seeds, only the networks with the most evaluations
        are compared, by their mean rewards, because the best of many single evaluations is often a
        lucky one. Raises ValueError if no full evaluation succeeded.
        """
        successful = self.full
        if not successful.any():
            failed = [reason for reason in self.error if reason]
            reason = f"; the first failure: {failed[0]}" if failed else ""
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
        """Group rows [k] by network, in the order of their first rows.

        Returns the first row of each network as indices of `rows`, the network of each row [k], and
        the number of rows of each network.
        """
        keys = self.space.keys(self.genotypes[rows])
        _, first, network, count = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.argsort(first)
        return first[order], np.argsort(order)[network], count[order]

    def summary(self, row: int) -> Summary:
        """Return the means over the full evaluations of the network in a row."""
        same = None
        if self.networks < len(self):  # some networks were evaluated again
            same = self.full & (self.genotypes == self.genotypes[row]).all(1)
        if same is None or same.sum() < 2:
            accuracy, std, reward = self.accuracy[row], self.std[row], self.reward[row]
            return Summary(float(accuracy), float(std), float(reward), 1)
        known = self.accuracy[same]
        error = mean_error(known.tolist(), int(self.images[same].min()))
        return Summary(float(known.mean()), error, float(self.reward[same].mean()), len(known))

    def deviation(self) -> float:
        """Return the standard deviation between trainings of the same network, in points.

        It is pooled over the networks with several evaluations; NaN if there are none.
        """
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
        """Return the lead of `best` over the networks it was compared with, in points of reward.

        The error is the paired error of rewards (`vbs.accuracy.paired_variance`), because all
        networks were scored on the same images. It is unknown for single evaluations without a
        number of images.
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
        # change of the reward per point of accuracy
        worth = self.objective.reward(accuracy + 0.5, self.costs[rows]) - self.objective.reward(
            accuracy - 0.5, self.costs[rows]
        )
        return lead(means, variance * worth**2, best=int(means.argmax()))

    def front(self) -> np.ndarray:
        """Return the rows of the Pareto front of accuracy and the target cost, cheapest first.

        Only full evaluations count; networks with several evaluations count with their means.
        """
        if self._front is None or self._front[0] != len(self):
            whole = self.full.all()
            accuracy = self.accuracy if whole else np.where(self.full, self.accuracy, np.nan)
            if self.networks < len(self) and self.full.any():  # means, at each network's first row
                rows = np.flatnonzero(self.full)
                first, network, count = self._by_network(rows)
                accuracy = np.full(len(self), np.nan)
                accuracy[rows[first]] = np.bincount(network, weights=self.accuracy[rows]) / count
            cost = self.costs.get(self.objective.of)
            self._front = (len(self), pareto_front(accuracy, cost))
        return self._front[1]


def _objects(curves: Sequence[Curve]) -> np.ndarray:
    """Return tuples as an object array [n]."""
    found = np.empty(len(curves), object)
    for row, curve in enumerate(curves):
        found[row] = curve
    return found
