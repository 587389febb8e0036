"""Result of the trainings of one network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbs.accuracy import mean_error


@dataclass(frozen=True)
class Result:
    """Results of one network.

    accuracies  minival accuracy in percent, by seed.
    seconds     mean seconds of a training.
    errors      reasons of failed trainings, by seed.
    images      number of images of the accuracies, the same for all networks; 0: unknown.
    """

    accuracies: Mapping[int, float]
    seconds: float
    errors: Mapping[int, str]
    images: int = 0

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds; NaN if there is none."""
        values = list(self.accuracies.values())
        return float(np.mean(values)) if values else math.nan

    @property
    def error(self) -> float:
        """Error of the mean accuracy in points, from seeds and images.

        See `vbs.accuracy.mean_error`; NaN if it is unknown. The error of a difference between
        networks on the same images is smaller.
        """
        return mean_error(list(self.accuracies.values()), self.images)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data, with seeds as text."""
        return {
            "accuracies": {str(seed): round(x, 3) for seed, x in self.accuracies.items()},
            "mean": None if math.isnan(self.mean) else round(self.mean, 3),
            "standard_error": None if math.isnan(self.error) else round(self.error, 3),
            "seconds": None if math.isnan(self.seconds) else round(self.seconds, 1),
            "errors": {str(seed): reason for seed, reason in self.errors.items()},
            "images": self.images,
        }
