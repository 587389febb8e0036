"""Regression over published trainings: its terms, its posterior and its predictions.

The response is latent(top1) = log((95 - top1) / top1). Its change from the base to a scaled network
is linear in `terms`: the logarithms of depth, width and resolution relative to the base, their
squares, their products with the latent value of the base, and in the second model their
interactions. Each recipe has its own slopes around the common ones (random effects). Those of a new
recipe are unknown, which causes most of the uncertainty of a prediction; it grows with the distance
from the base.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from scaling.budget import real_factors
from search_spaces.architecture import Architecture
from vbs.folder import write_json
from vbs.text import quoted

# top-1 in percent that no network reaches by growing. Cross-validation hardly distinguishes 90 from
# 95 (mean error 0.70 points for both); without a ceiling (100), the mean error is 0.75 points.
CEILING = 95.0
LARGEST_FACTOR = 1e4  # limit of depth, width and resolution; predictions near it are meaningless
CENTER = 75.0  # top-1 of a base whose latent value counts as 0
AXES = ("depth", "width", "resolution")
SQUARES = ("d", "w", "r", "dd", "ww", "rr", "dz", "wz", "rz")
INTERACTIONS = (*SQUARES, "dw", "dr", "wr")
MODELS = ("squares", "interactions")


@dataclass(frozen=True)
class GrowthModel:
    """Posterior of the regression's slopes.

    names       names of the terms: "d" is the logarithm of depth, "dd" its square, "dz" its
                product with the base's latent value, "dw" an interaction.
    weights, covariance  mean [p] and covariance [p, p] of the common slopes.
    spread      variance of a recipe's slopes around the common ones, [p].
    noise       variance of one training, in latent units.
    widened     factor by which standard deviations are multiplied, so that 95% intervals cover 95%
                of held-out recipes.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    covariance: np.ndarray
    spread: np.ndarray
    noise: float
    widened: float

    def slopes(self) -> np.ndarray:
        """Return the covariance of a new recipe's slopes, [p, p]."""
        return self.covariance + np.diag(self.spread)

    def change(self, terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the change of the latent value for a new recipe, and its standard deviation, [n].

        terms  [n, p]. The standard deviation includes the noise of both trainings.
        """
        variance = np.einsum("ni,ij,nj->n", terms, self.slopes(), terms) + 2 * self.noise
        return terms @ self.weights, self.widened * np.sqrt(variance)


@dataclass(frozen=True)
class Published:
    """The fitted models and their data.

    models  models by name, "squares" and "interactions".
    ranges  [lowest, highest] of "depth", "width", "resolution" and "base_top1" in the trainings.
    trainings  number of trainings.
    groups  number of groups of base network and recipe.
    sources  base, recipe, trainings and source of each group.
    """

    models: Mapping[str, GrowthModel]
    ranges: Mapping[str, tuple[float, float]]
    trainings: int
    groups: int
    sources: Sequence[Mapping[str, Any]]


def latent(top1: np.ndarray | float) -> np.ndarray:
    """Return log((95 - top1) / top1); lower is better."""
    top1 = np.asarray(top1, np.float64)
    return np.log((CEILING - top1) / top1)


def top1_of(value: np.ndarray | float) -> np.ndarray:
    """Return the top-1 in percent of a latent value."""
    return CEILING / (1 + np.exp(np.asarray(value, np.float64)))


def steepness(top1: np.ndarray | float) -> np.ndarray:
    """Return the change of top-1 in points per unit of the latent value; positive."""
    top1 = np.asarray(top1, np.float64)
    return top1 * (CEILING - top1) / CEILING


def terms(logs: np.ndarray, base_latent: np.ndarray | float, names: Sequence[str]) -> np.ndarray:
    """Return the columns [n, p] for logarithms of depth, width and resolution [n, 3]."""
    values = dict(zip("dwr", np.asarray(logs, np.float64).T, strict=True))
    values["z"] = np.broadcast_to(base_latent - latent(CENTER), values["d"].shape)
    columns = [np.prod([values[letter] for letter in name], axis=0) for name in names]
    return np.stack(columns, axis=1)


def predicted_gain(
    factors: np.ndarray | Sequence[Sequence[float]], *, base_top1: float, model: str = "both"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain over the base in points of ImageNet top-1, and its standard deviation, [n].

    factors    [n, 3]: real depth, width and resolution relative to the base (`factors_between`).
    base_top1  top-1 of the base in percent, under the recipe of all trainings.
    model      "squares", "interactions", or "both": their mean; the standard deviation includes
               their difference.

    The standard deviation grows outside the published trainings; `check_range` refuses such
    factors. Raises ValueError for factors that are not positive, and for a base_top1 outside
    (0, 95).
    """
    logs = logs_of(factors)
    base = latent(checked_top1(base_top1))
    found = [
        _points(each, logs, base) for each in models_named(model)
    ]  # points and standard deviations of each model
    points = np.array([each[0] for each in found])
    variance = np.array([each[1] ** 2 for each in found])
    return points.mean(0), np.sqrt(variance.mean(0) + points.var(0))


def _points(model: GrowthModel, logs: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, ...]:
    change, std = model.change(terms(logs, base, model.names))
    reached = top1_of(base + change)
    return reached - top1_of(base), steepness(reached) * std


def models_named(name: str) -> list[GrowthModel]:
    """Return the model with this name, or both for "both"."""
    models = load_published().models
    if name == "both":
        return list(models.values())
    if not isinstance(name, str) or name not in models:
        known = ", ".join((*models, "both"))
        raise ValueError(f"model: {quoted(name)} is unknown; use one of {known}")
    return [models[name]]


def logs_of(factors: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Return the logarithms of depth, width and resolution [n, 3].

    Raises ValueError unless all factors are from 1 / `LARGEST_FACTOR` to `LARGEST_FACTOR`.
    """
    try:
        values = np.asarray(factors, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("factors: use numbers [n, 3]: depth, width, resolution") from None
    if values.ndim != 2 or values.shape[1] != len(AXES):
        raise ValueError(f"factors: shape {values.shape} is not [n, 3]: depth, width, resolution")
    wrong = values[~((values >= 1 / LARGEST_FACTOR) & (values <= LARGEST_FACTOR))]
    if len(wrong):
        raise ValueError(
            f"factors: {wrong[0]:g} is not allowed; use numbers above 0, up to {LARGEST_FACTOR:g}"
        )
    return np.log(values)


def checked_top1(top1: float) -> float:
    """Return the top-1; raises ValueError unless it is a percentage between 0 and `CEILING`."""
    if not (is_number(top1) and 0 < top1 < CEILING):
        raise ValueError(
            f"base_top1: {quoted(top1)} is not allowed; use percent between 0 and {CEILING:g}"
        )
    return float(top1)


def is_number(value: object) -> bool:
    """Return whether the value is a finite number; bools are not."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(abs(value) <= sys.float_info.max)


def range_problems(
    factors: np.ndarray | Sequence[Sequence[float]], *, base_top1: float | None = None
) -> list[str]:
    """Return a line, with the excess, for each value outside the range of published trainings."""
    logs, ranges, problems = logs_of(factors), load_published().ranges, []
    if base_top1 is not None:
        if not is_number(base_top1):
            raise ValueError(f"base_top1: {quoted(base_top1, 40)} is not allowed; use percent")
        low, high = ranges["base_top1"]
        if not low <= base_top1 <= high:
            end, word = (low, "below") if base_top1 < low else (high, "above")
            problems.append(
                f"base: {base_top1:g}% top-1 is outside the published trainings' bases "
                f"({low:.1f} to {high:.1f}%), {abs(base_top1 - end):.1f} points {word} them"
            )
    if not len(logs):
        return problems
    for axis, column in zip(AXES, np.exp(logs).T, strict=True):
        low, high = ranges[axis]
        for value, end, word in ((column.min(), low, "below"), (column.max(), high, "above")):
            beyond = end / value if word == "below" else value / end
            if beyond > 1 + 1e-9:
                problems.append(
                    f"{axis}: {value:.3g} times the base is outside the published trainings "
                    f"({low:.2f} to {high:.2f}), {beyond:.2f} times {word} them"
                )
    return problems


def check_range(
    factors: np.ndarray | Sequence[Sequence[float]], *, base_top1: float | None = None
) -> None:
    """Raise a one-line ValueError if the base or factors are outside the published trainings."""
    problems = range_problems(factors, base_top1=base_top1)
    if problems:
        raise ValueError("; ".join(problems))


def factors_between(base: Architecture, network: Architecture) -> tuple[float, float, float]:
    """Return the real depth, width and resolution of a network relative to a base.

    These are the factors of the regression. Depth is the ratio of layers; for width and resolution
    see `scaling.budget.real_factors`.
    """
    layers = [sum(stage.layers for stage in each.stages) for each in (network, base)]
    real = real_factors(base, network)
    return layers[0] / layers[1], real.width, real.resolution


@functools.cache
def load_published() -> Published:
    """Return the models that are shipped with this package."""
    file = resources.files("scaling.published").joinpath("published_scaling.json")
    with resources.as_file(file) as path:
        return read_published(path)


def read_published(path: str | Path) -> Published:
    """Read models from a JSON file written by `write_published`."""
    about = json.loads(Path(path).read_text(encoding="utf-8"))
    models = {
        name: GrowthModel(
            names=tuple(each["names"]),
            weights=np.array(each["weights"]),
            covariance=np.array(each["covariance"]),
            spread=np.array(each["spread"]),
            noise=each["noise"],
            widened=each["widened"],
        )
        for name, each in about["models"].items()
    }
    ranges = {name: (low, high) for name, (low, high) in about["ranges"].items()}
    return Published(models, ranges, about["trainings"], about["groups"], about["sources"])


def write_published(path: str | Path, published: Published) -> None:
    """Write models to a JSON file atomically."""
    models = {
        name: {
            "names": list(each.names),
            "weights": each.weights.tolist(),
            "covariance": each.covariance.tolist(),
            "spread": each.spread.tolist(),
            "noise": each.noise,
            "widened": each.widened,
        }
        for name, each in published.models.items()
    }
    write_json(
        Path(path),
        {
            "models": models,
            "ranges": {name: list(ends) for name, ends in published.ranges.items()},
            "trainings": published.trainings,
            "groups": published.groups,
            "sources": [dict(each) for each in published.sources],
        },
    )
