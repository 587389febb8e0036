"""Base class of evaluators, and the types that they return."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from search_spaces.space import SearchSpace
from vbs.failures import is_infrastructure, reason_of


class Point(NamedTuple):
    """A point of a learning curve.

    step      number of steps so far (such as epochs), from 1.
    accuracy  accuracy in percent.
    seconds   time of this evaluation so far.
    """

    step: int
    accuracy: float
    seconds: float


Curve = tuple[Point, ...]


@dataclass(frozen=True)
class Answer:
    """Result of one expensive evaluation.

    accuracy  percent; NaN if it failed.
    std       standard deviation of the accuracy in points; NaN if unknown.
    seconds   duration of the evaluation.
    error     reason of a failure; "" if it did not fail.
    curve     points of the learning curve.
    fidelity  share of the steps that were run; below 1 if it was stopped early.
    images    number of images that the accuracy was computed on; 0 if unknown.
    """

    accuracy: float
    std: float = float("nan")
    seconds: float = 0.0
    error: str = ""
    curve: Curve = ()
    fidelity: float = 1.0
    images: int = 0

    @classmethod
    def of_curve(
        cls, curve: Sequence[Point], *, stopped_of: int | None = None, images: int = 0
    ) -> Answer:
        """Return the result of a curve; an accuracy that is not finite is a failure.

        stopped_of  number of steps of a full evaluation if it was stopped; None: it was finished.
        images      number of images that its accuracies were computed on.
        """
        if not curve:
            return cls(float("nan"), error="the evaluation ended without a result")
        last = curve[-1]
        if not np.isfinite(last.accuracy):
            return cls.failed(f"accuracy is {last.accuracy}", curve)
        share = 1.0 if stopped_of is None else min(1.0, last.step / stopped_of)
        return cls(
            last.accuracy, seconds=last.seconds, curve=tuple(curve), fidelity=share, images=images
        )

    @classmethod
    def failed(cls, reason: str, curve: Sequence[Point] = ()) -> Answer:
        """Return a failure, with the seconds until its last point."""
        seconds = curve[-1].seconds if curve else 0.0
        reason = " ".join(reason.split())
        return cls(float("nan"), seconds=seconds, error=reason, curve=tuple(curve))


@dataclass(frozen=True)
class Evaluations:
    """Results of evaluating n genotypes.

    accuracy  percent, float64 [n]; NaN if the evaluation failed.
    std       standard deviation of the accuracy in points, float64 [n].
    seconds   duration of each evaluation, float64 [n].
    error     reason of a failure or "", object [n] of str; None if none failed.
    fidelity  share of the steps that each ran, float64 [n]; None if all were full.
    curves    learning curves; None if there are none.
    seed      seed of each evaluation, int64 [n]; None if all are 0.
    images    number of images that each accuracy was computed on, int64 [n]; None if unknown.
    """

    accuracy: np.ndarray
    std: np.ndarray
    seconds: np.ndarray
    error: np.ndarray | None = None
    fidelity: np.ndarray | None = None
    curves: Sequence[Curve] | None = None
    seed: np.ndarray | None = None
    images: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.accuracy)

    @classmethod
    def of_answers(
        cls, answers: Sequence[Answer], *, seeds: Sequence[int] | None = None
    ) -> Evaluations:
        """Return single results as arrays; seeds None: all are 0."""
        numbers = [(each.accuracy, each.std, each.seconds, each.fidelity) for each in answers]
        accuracy, std, seconds, fidelity = np.array(numbers, float).reshape(-1, 4).T
        error = np.array([each.error for each in answers], object)
        seed = None if seeds is None else np.array(seeds, np.int64)
        curves = [each.curve for each in answers]
        images = np.array([each.images for each in answers], np.int64)
        return cls(accuracy, std, seconds, error, fidelity, curves, seed, images)


@dataclass(frozen=True)
class Measured:
    """Networks with measured accuracy: genotypes int8 [m, decisions], accuracy in percent [m]."""

    genotypes: np.ndarray
    accuracy: np.ndarray

    def nearest(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of decisions that differ from the nearest network, and its row.

        int64 [n] each, for genotypes [n, decisions]; the first of equally near rows counts.
        """
        distance = np.empty(len(genotypes), np.int64)
        rows = np.empty(len(genotypes), np.int64)
        for index, genotype in enumerate(genotypes):
            differing = (self.genotypes != genotype).sum(1)
            rows[index] = differing.argmin()
            distance[index] = differing[rows[index]]
        return distance, rows


class Evaluator:
    """Base class of evaluators, which estimate the accuracy of networks.

    An evaluation that fails because of the network is a result with a reason. Other failures
    (such as an OSError or `vbs.failures.InfrastructureError`) are raised and end the search. Remove
    the cause, and continue the search with `--resume`.

    Your own evaluator overrides `evaluate`, or `curve` if an evaluation has several steps and may
    be stopped early. The attributes describe it to the search loop and the report:

    name          name in results, e.g. "surrogate".
    unit          description of its accuracy as a phrase.
    axis          the same description as a label for the axis of a figure.
    trains        whether it trains networks, with a point of a curve per epoch.
    cheap         whether thousands of evaluations at once are cheap, so that batches are large.
    instant       whether single evaluations are cheap, so that reports may evaluate more networks.
    measured      measured networks to compare results with; None: none.
    pooled        whether it can evaluate only the measured networks.
    steps         points of a full learning curve; 1 without curves.
    scored_on     number of images that its accuracies are computed on; 0: unknown.
    chance        accuracy of guessing on these images in percent; NaN: unknown.
    remedies      advice for the user on how to make its accuracies more certain.
    train_images  number of training images; 0: unknown.
    notes         lines for reports on the reliability of its accuracies.
    """

    name: str = "evaluator"
    unit: str = "accuracy in percent"
    axis: str = "accuracy (%)"
    trains: bool = False
    cheap: bool = False
    instant: bool = False
    measured: Measured | None = None
    pooled: bool = False
    steps: int = 1
    scored_on: int = 0
    chance: float = float("nan")
    remedies: str = ""
    train_images: int = 0
    notes: tuple[str, ...] = ()

    @property
    def has_curve(self) -> bool:
        """Whether it reports learning curves, so that evaluations can be stopped early."""
        return self.trains or self.steps > 1

    def further(self, space: SearchSpace, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Return further columns of the results, name -> float64 [n]; none by default.

        A name that ends in "_std" is the standard deviation of the column without the ending.
        """
        return {}

    def predict_own(
        self, space: SearchSpace, genotypes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the accuracy that each network has on average over seeds, if it is known.

        Returns means and standard deviations in percent, float64 [n] each. The standard deviations
        do not include the variance between trainings with different seeds. The default is None:
        unknown.
        """
        return None

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError if the evaluator does not support this space."""

    def get_ready(self, space: SearchSpace) -> None:
        """Prepare for evaluations; called once in each worker before the first of them."""

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Evaluate genotypes int8 [n, decisions]; the default uses the last point of each curve."""
        return Evaluations.of_answers([self._answer(space, genotype) for genotype in genotypes])

    def _answer(self, space: SearchSpace, genotype: np.ndarray) -> Answer:
        if type(self).curve is Evaluator.curve:
            raise NotImplementedError("an evaluator must define `evaluate` or `curve`")
        points: list[Point] = []
        try:
            points.extend(self.curve(space, genotype))
        except Exception as error:  # errors of a user's evaluator are results, and not crashes
            if is_infrastructure(error):
                raise
            return Answer.failed(reason_of(error), points)
        return Answer.of_curve(points, images=self.scored_on)

    def curve(
        self,
        space: SearchSpace,
        genotype: np.ndarray,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> Iterator[Point]:
        """Yield the points of the learning curve of one network.

        The caller may stop between two points. The default is a single point from `evaluate`.

        genotype  network, int8 [decisions].
        seed      seed of everything random in this evaluation.
        folder    folder of the checkpoint that an interrupted evaluation resumes; None: none.

        Raises an exception for a failure; its text is the reason.
        """
        started = time.perf_counter()
        found = self.evaluate(space, genotype[None])
        if found.error is not None and found.error[0]:
            raise RuntimeError(found.error[0])
        seconds = float(found.seconds[0]) or time.perf_counter() - started
        yield Point(1, float(found.accuracy[0]), seconds)
