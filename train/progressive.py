"""Progressive learning: image size and regularisation increase together, in equal stages.

Source: Tan & Le 2021 (EfficientNetV2), section 4.2, algorithm 1. The learning-rate schedule
continues across stages, and the network is the same because it accepts images of any size.
"""

from __future__ import annotations

from typing import NamedTuple

from train.recipe import Recipe


class Phase(NamedTuple):
    """The settings of a training stage; resolution in pixels."""

    stage: int
    resolution: int
    magnitude: float
    mixup: float
    dropout: float


def phase(recipe: Recipe, epoch: int) -> Phase:
    """Return the settings that an epoch (from 0) is trained with.

    The recipe's resolution must be set (see `train.state.resolved`). Stages have equal numbers of
    epochs, up to rounding. "linear" stages go from the min_ values to the recipe's values;
    "google" stages end there too, but start one step above the min_ values. For 128 to 300 px in
    4 stages these are 128, 185, 243, 300 and 171, 214, 257, 300.
    """
    count = recipe.stages
    stage = min(epoch * count // recipe.epochs, count - 1)
    if count == 1:
        return Phase(0, recipe.resolution, recipe.magnitude, recipe.mixup, recipe.dropout)
    google = recipe.steps_of_stages == "google"
    share = (stage + 1) / count if google else stage / (count - 1)

    def between(low: float, high: float) -> float:
        return low + (high - low) * share

    return Phase(
        stage,
        # rounds half up; 1e-9 corrects floating-point errors just below a half
        int(between(recipe.min_resolution, recipe.resolution) + 0.5 + 1e-9),
        between(recipe.min_magnitude, recipe.magnitude),
        between(recipe.min_mixup, recipe.mixup),
        between(recipe.min_dropout, recipe.dropout),
    )


def first_epoch(recipe: Recipe, epoch: int) -> int:
    """Return the first epoch (from 0) of the consecutive epochs with the input size of `epoch`."""
    side = phase(recipe, epoch).resolution
    while epoch and phase(recipe, epoch - 1).resolution == side:
        epoch -= 1
    return epoch
