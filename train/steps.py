"""What is random in a training step, as a function of the seed and the step's number.

Nothing is remembered, so that a run that is resumed, or shared among devices, is the same run.
"""

from __future__ import annotations

import numpy as np

from train.data import Step
from train.data.augment import Augmentation
from train.progressive import Phase
from train.recipe import Recipe
from train.state import Run, share_of


def parts(run: Run, order: np.ndarray) -> list[Step]:
    """Each step's images [steps, batch] as the batches that this process works on in turn."""
    here, share, recipe = run.world, share_of(run.recipe, run.world), run.recipe
    count = recipe.batch // share
    return [
        Step(indices, slice(part * share, (part + 1) * share), seed_of(recipe, run.step + ahead))
        for ahead, indices in enumerate(order)
        # process r takes parts r, r + size, ...: what one process would work on in the same turn
        for part in range(here.rank, count, here.size)
    ]


def order_of(run: Run, epoch: int) -> np.ndarray:
    """The images of an epoch's steps, int64 [steps, batch]."""
    rng = np.random.default_rng((run.recipe.seed, epoch))
    return run.data.train.order(rng, run.recipe.batch)


def seed_of(recipe: Recipe, step: int) -> int:
    """Of everything random in a step; distinct for every (seed, step) and below 2**62."""
    return (recipe.seed * 2**31 + step) % 2**62


def augmentation(recipe: Recipe, now: Phase, *, side: int = 0) -> Augmentation:
    """How training images look in that phase.

    side  of the images in pixels; 0: what the network takes in that phase.
    """
    return Augmentation(
        size=side or now.resolution,
        crop=recipe.crop,
        crop_area=recipe.crop_area,
        flip=recipe.flip,
        policy=recipe.policy,
        magnitude=now.magnitude,
        layers=recipe.layers,
        erasing=recipe.erasing,
        group=recipe.group,
        mean=recipe.mean,
        std=recipe.std,
    )
