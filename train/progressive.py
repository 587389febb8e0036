"""Progressive learning: image size and regularisation rise together, in stages of equal length.

Source: Tan & Le 2021 (EfficientNetV2), section 4.2, algorithm 1. The learning rate is not
restarted and the network is the same throughout: it takes images of any size.
"""

from __future__ import annotations

from typing import NamedTuple

from train.recipe import Recipe


class Phase(NamedTuple):
    """What changes between the stages of a run; resolution in pixels."""

    stage: int
    resolution: int
    magnitude: float
    mixup: float
    dropout: float


def phase(recipe: Recipe, epoch: int) -> Phase:
    """What epoch (from 0) of the recipe trains with; its resolution must be set.

    The stages share the epochs as evenly as whole epochs allow. "linear" steps go from the
    minima to the recipe's values themselves; "google" ones end there too, but begin a step above
    the minima: 128 -> 300 px in 4 stages is 128, 185, 243, 300 or 171, 214, 257, 300.
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
        # half up, and a float's error below a half is not one
        int(between(recipe.min_resolution, recipe.resolution) + 0.5 + 1e-9),
        between(recipe.min_magnitude, recipe.magnitude),
        between(recipe.min_mixup, recipe.mixup),
        between(recipe.min_dropout, recipe.dropout),
    )


def first_epoch(recipe: Recipe, epoch: int) -> int:
    """The first epoch (from 0) that trains with the input side of this epoch without a change."""
    side = phase(recipe, epoch).resolution
    while epoch and phase(recipe, epoch - 1).resolution == side:
        epoch -= 1
    return epoch
