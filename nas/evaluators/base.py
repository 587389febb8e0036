"""What every evaluator answers, and the few things it may say about itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Evaluations:
    """Answers for n genotypes.

    accuracy  percent, float64 [n]; NaN where the evaluation failed.
    std       standard deviation of that number in points, float64 [n].
    seconds   what each answer took, float64 [n].
    error     why it failed, object [n] of str, "" where it did not; None if none failed.
    """

    accuracy: np.ndarray
    std: np.ndarray
    seconds: np.ndarray
    error: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.accuracy)


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

    A user's evaluator overrides `evaluate`; the rest describes it to the loop and the report.

    name      as in results, e.g. "surrogate".
    unit      what its accuracy is, in a sentence; axis the same on a figure's axis.
    cheap     thousands at once cost next to nothing, so that batches should be large.
    measured  networks to compare results with, or None.
    pooled    it can answer for the measured networks only.
    """

    name: str = "evaluator"
    unit: str = "accuracy in percent"
    axis: str = "accuracy (%)"
    cheap: bool = False
    measured: Measured | None = None
    pooled: bool = False

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError where this space cannot be answered for, saying which can."""

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Answers for genotypes int8 [n, decisions]."""
        raise NotImplementedError
