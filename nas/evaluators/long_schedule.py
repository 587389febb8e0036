"""Model of the accuracy under a longer training schedule, based on a surrogate of a short one.

The model is linear in the short prediction, its square, and the logs of FLOPs, params, activations
and layers. The uncertainty of the short prediction is propagated through the slope.
`experiments.fit_long_schedule` fits and cross-validates the model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vbs.folder import write_json

ARRAYS = ("center", "scale", "weights", "covariance")


class OwnAccuracy(NamedTuple):
    """Accuracies that networks have on average over many trainings, in percent, [n].

    std  standard deviations of these means, without the variance between trainings.
    """

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class LongSchedule:
    """A fitted model of accuracy under a longer schedule.

    unit           description of the predicted numbers.
    source         origin of the trainings, with their licence.
    longer         ratio of the durations of the long and the short schedule.
    center, scale  mean and deviation that standardise the inputs, [5]: the short prediction and the
                   four logs of `Tables.logs`.
    weights, covariance  posterior of the weights of `design`, [7] and [7, 7]. The covariance makes
                   predictions far from the fitted networks less certain.
    ceiling        percent; deviations are proportional to the distance from it.
    left           residual deviation of a network's mean accuracy, divided by that distance.
    seeds          deviation between trainings of one network, divided by that distance.
    fitted         lowest and highest short prediction of the fitted networks.
    """

    unit: str
    source: str
    longer: float
    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    covariance: np.ndarray
    ceiling: float
    left: float
    seeds: float
    fitted: tuple[float, float]

    def predict(
        self, short: np.ndarray, short_std: np.ndarray, logs: np.ndarray
    ) -> tuple[OwnAccuracy, np.ndarray]:
        """Return the mean accuracy under the longer schedule, and the deviation of seeds [n].

        short, short_std  mean accuracy under the short schedule and its deviation, percent, [n].
        logs              result of `Tables.logs`, [n, 4].
        """
        columns = self.columns(short, logs)
        mean = columns @ self.weights
        distance = np.maximum(self.ceiling - mean, 1.0)
        variance = (self.slope(short) * short_std) ** 2 + (self.left * distance) ** 2
        variance += np.einsum("ni,ij,nj->n", columns, self.covariance, columns)
        return OwnAccuracy(mean, np.sqrt(variance)), self.seeds * distance

    def columns(self, short: np.ndarray, logs: np.ndarray) -> np.ndarray:
        """Return the regressors of the model, [n, 7]."""
        return design((np.column_stack([short, logs]) - self.center) / self.scale)

    def slope(self, short: np.ndarray) -> np.ndarray:
        """Return the points of the long schedule per point of the short one, [n]."""
        standard = (np.asarray(short) - self.center[0]) / self.scale[0]
        return (self.weights[1] + 2 * self.weights[2] * standard) / self.scale[0]


def design(standard: np.ndarray) -> np.ndarray:
    """Return regressors [n, 7] of standardised inputs [n, 5]: 1, prediction, its square, logs."""
    short = standard[:, :1]
    return np.concatenate([np.ones_like(short), short, short**2, standard[:, 1:]], axis=1)


def read_long_schedule(path: str | Path) -> LongSchedule:
    """Return the model in a JSON file that `write_long_schedule` wrote."""
    about: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    arrays = {name: np.array(about[name], np.float64) for name in ARRAYS}
    low, high = about["fitted"]
    return LongSchedule(**(dict(about) | arrays | {"fitted": (low, high)}))


def write_long_schedule(path: str | Path, model: LongSchedule) -> None:
    """Write a model to a JSON file, atomically."""
    about = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    about |= {name: getattr(model, name).tolist() for name in ARRAYS}
    write_json(Path(path), about | {"fitted": list(model.fitted)})
