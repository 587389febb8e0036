"""Evaluators of your own: an instant one, and one that reports a learning curve.

    vbs search --space my_space.py:two_stages --evaluator my_evaluator.py:Capacity \\
        --target-flops 20M
    vbs search --space my_space.py:two_stages --evaluator my_evaluator.py:Trained \\
        --target-flops 20M --workers 2 --budget 20

Replace `accuracy_of` by your own measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator, Point
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.space import SearchSpace

STEPS = 9


def accuracy_of(network: Architecture) -> float:
    """Return the accuracy in percent; here a formula that favours many parameters."""
    return 40.0 + 4.0 * float(np.log10(cost(network).params))


class Capacity(Evaluator):
    """Evaluator that runs in the process of the search.

    name     name in results.
    cheap    whether thousands of evaluations at once are cheap.
    instant  whether single evaluations are cheap.
    """

    name, cheap, instant = "capacity", True, True

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Return accuracies of genotypes [n, decisions], their errors in points, and seconds."""
        accuracy = np.array([accuracy_of(space.decode(each)) for each in genotypes])
        return Evaluations(accuracy, np.full(len(accuracy), 0.5), np.zeros(len(accuracy)))


class Trained(Evaluator):
    """Evaluator with learning curves, which ASHA can stop early; runs in worker processes."""

    name, steps = "trained", STEPS

    def curve(
        self,
        space: SearchSpace,
        genotype: np.ndarray,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> Iterator[Point]:
        """Yield a point after each step; `folder` is for a checkpoint (None: no checkpoint)."""
        final = accuracy_of(space.decode(genotype))
        rng = np.random.default_rng(seed)
        for step in range(1, STEPS + 1):
            accuracy = final * (1 - 0.5**step) + rng.normal(0, 0.3)
            yield Point(step, accuracy, seconds=0.1 * step)
