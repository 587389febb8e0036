"""Result of a search from pretrained weights: trained networks and their accuracies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.search.config import SearchConfig
from search_spaces.architecture import Architecture
from vbs.accuracy import standard_error
from vbs.command import FAILED, INTERRUPTED


@dataclass(frozen=True)
class Tuned:
    """A network that was fine-tuned with one or more seeds.

    kind           "found", or the name of a reference (nas.parents.references).
    costs          flops, params and the limited costs of the search; times in seconds.
    minival, test  accuracies in percent, one per seed; test is empty without test images.
    weights        file of the seed with the best minival accuracy.
    in_float       accuracies in float if the search was in int8, where minival and test are those
                   in int8; empty otherwise.
    """

    kind: str
    architecture: Architecture
    costs: Mapping[str, float]
    minival: Sequence[float]
    test: Sequence[float]
    weights: Path
    in_float: Sequence[float] = ()

    @property
    def accuracy(self) -> float:
        """Mean test accuracy in percent; the minival accuracy if there are no test images."""
        return float(np.mean(self.test or self.minival))

    @property
    def error(self) -> float:
        """Standard error of the accuracy over the seeds; NaN for a single seed."""
        return standard_error(self.test or self.minival)

    @property
    def _row_in_float(self) -> dict[str, list[float]]:
        in_float = [round(value, 3) for value in self.in_float]
        return {"float_top1": in_float} if in_float else {}

    def as_row(self, folder: Path) -> dict[str, Any]:
        """Return plain data for a record in a folder; the path of the weights is relative to it."""
        inside = self.weights.is_relative_to(folder)
        return {
            "kind": self.kind,
            "key": self.architecture.key,
            "resolution": self.architecture.resolution,
            "layers": sum(stage.layers for stage in self.architecture.stages),
            "architecture": json.loads(self.architecture.to_json()),
            **self.costs,
            "seeds": len(self.minival),
            "minival_top1": [round(value, 3) for value in self.minival],
            "test_top1": [round(value, 3) for value in self.test],
            **self._row_in_float,
            "weights": str(self.weights.relative_to(folder) if inside else self.weights),
        }


@dataclass(frozen=True)
class TargetResult:
    """The fine-tuned networks of one target, sorted by minival accuracy, the best first.

    text    the target as a short text, such as 35M.
    folder  folder of its search and trainings.
    """

    text: str
    folder: Path
    networks: Sequence[Tuned]


@dataclass(frozen=True)
class ParentResult:
    """Result of a search from pretrained weights.

    teacher  the fine-tuned parent: its costs, accuracies and weights.
    status   "finished", "interrupted" or "failed".
    reason   explanation of the status; "" if finished.
    seconds  duration of the search, including earlier parts.
    """

    folder: Path
    config: SearchConfig
    teacher: Tuned
    targets: Sequence[TargetResult]
    status: str
    reason: str
    seconds: float

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return {"finished": 0, "interrupted": INTERRUPTED}.get(self.status, FAILED)
