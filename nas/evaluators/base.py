"""The base class of evaluators, and what they return."""

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
    """One point of a learning curve: after `step` steps (epochs, say; from 1), accuracy in
    percent, and the seconds spent on this evaluation so far."""

    step: int
    accuracy: float
    seconds: float


Curve = tuple[Point, ...]


@dataclass(frozen=True)
class Answer:
    """How one expensive evaluation ended.

    accuracy  percent; NaN where it failed.
    std       standard deviation of that number in points, NaN where unknown.
    seconds   what it took.
    error     why it failed; "" if it did not.
    curve     the points on the way.
    fidelity  the share of all steps it got: below 1 where it was stopped early.
    images    how many images the accuracy was read on; 0: unknown, or not of images.
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
        """What a curve came to; a number that is none is a failure.

        stopped_of  how many steps it would have had, where it was stopped; None: it ended itself.
        images      how many images its accuracies were read on.
        """
        if not curve:
            return cls(float("nan"), error="the evaluation ended without an answer")
        last = curve[-1]
        if not np.isfinite(last.accuracy):
            return cls.failed(f"accuracy is {last.accuracy}", curve)
        share = 1.0 if stopped_of is None else min(1.0, last.step / stopped_of)
        return cls(
            last.accuracy, seconds=last.seconds, curve=tuple(curve), fidelity=share, images=images
        )

    @classmethod
    def failed(cls, reason: str, curve: Sequence[Point] = ()) -> Answer:
        """A failure, with what was spent on it until its last point."""
        seconds = curve[-1].seconds if curve else 0.0
        reason = " ".join(reason.split())
        return cls(float("nan"), seconds=seconds, error=reason, curve=tuple(curve))


@dataclass(frozen=True)
class Evaluations:
    """Answers for n genotypes.

    accuracy  percent, float64 [n]; NaN where the evaluation failed.
    std       standard deviation of that number in points, float64 [n].
    seconds   what each answer took, float64 [n].
    error     why it failed, object [n] of str, "" where it did not; None if none failed.
    fidelity  share of its steps that each got, float64 [n]; None if all got all.
    curves    the learning curve of each; None if there are none.
    seed      of each evaluation, int64 [n]; None if all are 0.
    images    how many images each accuracy was read on, int64 [n]; None if that is unknown.
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
        """Single answers as arrays, of evaluations with these seeds."""
        numbers = [(each.accuracy, each.std, each.seconds, each.fidelity) for each in answers]
        accuracy, std, seconds, fidelity = np.array(numbers, float).reshape(-1, 4).T
        error = np.array([each.error for each in answers], object)
        seed = None if seeds is None else np.array(seeds, np.int64)
        curves = [each.curve for each in answers]
        images = np.array([each.images for each in answers], np.int64)
        return cls(accuracy, std, seconds, error, fidelity, curves, seed, images)


@dataclass(frozen=True)
class Measured:
    """Networks whose accuracy was measured: genotypes int8 [m, decisions], percent [m]."""

    genotypes: np.ndarray
    accuracy: np.ndarray

    def nearest(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decisions that differ from the nearest measured network, and its row here.

        int64 [n] each for genotypes [n, decisions]; the first row wins among equally near ones.
        """
        distance = np.empty(len(genotypes), np.int64)
        rows = np.empty(len(genotypes), np.int64)
        for index, genotype in enumerate(genotypes):
            differing = (self.genotypes != genotype).sum(1)
            rows[index] = differing.argmin()
            distance[index] = differing[rows[index]]
        return distance, rows


class Evaluator:
    """How accurate are networks? A failed evaluation is a row with its reason, no exception.

    What the network did not cause (an OSError, say, or `vbs.failures.InfrastructureError`) is no
    row: it is raised, and ends the search, which `--resume` continues once the cause is gone.

    A user's evaluator overrides `evaluate` or, where it learns bit by bit and may be stopped
    early, `curve`; the rest describes it to the loop and the report.

    name      as in results, e.g. "surrogate".
    unit      what its accuracy is, in a sentence; axis the same on a figure's axis.
    trains    whether it trains networks, with a point of a curve for each epoch.
    cheap     thousands at once cost next to nothing, so that batches should be large.
    instant   single answers cost next to nothing, so that reports may ask for more of them.
    measured  networks to compare results with, or None.
    pooled    it can answer for the measured networks only.
    steps     points of a full learning curve; 1 where it answers once.
    scored_on how many images its accuracies are read on, the same for all; 0: unknown.
    chance    what guessing gets on these images, in percent; NaN: unknown.
    remedies  what makes its accuracies more certain, in a sentence.
    train_images  how many images there are to train on; 0: unknown.
    notes     lines about how far its accuracies can be relied on, for reports.
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
        """Whether it reports learning curves, by which evaluations may be stopped early."""
        return self.trains or self.steps > 1

    def further(self, space: SearchSpace, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Further numbers of networks for results, name -> float64 [n]: by default none.

        A name with "_std" is the standard deviation of the one without.
        """
        return {}

    def predict_own(
        self, space: SearchSpace, genotypes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and standard deviation of networks' accuracy without the spread of trainings.

        In percent, float64 [n] each; by default None: unknown.
        """
        return None

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError where this space cannot be answered for, saying which can."""

    def get_ready(self, space: SearchSpace) -> None:
        """Called once where it works, before any evaluation: an error here costs no network."""

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Answers for genotypes int8 [n, decisions]: by default the ends of their curves."""
        return Evaluations.of_answers([self._answer(space, genotype) for genotype in genotypes])

    def _answer(self, space: SearchSpace, genotype: np.ndarray) -> Answer:
        if type(self).curve is Evaluator.curve:
            raise NotImplementedError("an evaluator defines `evaluate` or `curve`")
        points: list[Point] = []
        try:
            points.extend(self.curve(space, genotype))
        except Exception as error:  # whatever a user's evaluator raises is a result, not a crash
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
        """The points of one network's learning curve as they come, genotype int8 [decisions].

        The caller may stop between two points. By default one point, from `evaluate`.
        A failure is raised; its text is the reason.

        seed    of everything random in this evaluation.
        folder  of the checkpoint from which an interrupted evaluation resumes, or None.
        """
        started = time.perf_counter()
        found = self.evaluate(space, genotype[None])
        if found.error is not None and found.error[0]:
            raise RuntimeError(found.error[0])
        seconds = float(found.seconds[0]) or time.perf_counter() - started
        yield Point(1, float(found.accuracy[0]), seconds)
