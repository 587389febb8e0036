"""Randomness of a training step, as a function of the seed and the number of the step.

No generator state is saved, so that runs give equal results when resumed or divided among devices.
"""

from __future__ import annotations

import numpy as np

from train.data import Step
from train.data.augment import Augmentation
from train.progressive import Phase
from train.recipe import Recipe
from train.state import Run, share_of


def parts(run: Run, order: np.ndarray) -> list[Step]:
    """Return the batches that this process works on in turn, for steps [steps, batch] of images."""
    here, share, recipe = run.world, share_of(run.recipe, run.world), run.recipe
    count = recipe.batch // share
    return [
        Step(indices, slice(part * share, (part + 1) * share), seed_of(recipe, run.step + ahead))
        for ahead, indices in enumerate(order)
        # process r takes parts r, r + size, ...: the order of a single process
        for part in range(here.rank, count, here.size)
    ]


def order_of(run: Run, epoch: int) -> np.ndarray:
    """Return the images of an epoch's steps, int64 [steps, batch]."""
    rng = np.random.default_rng((run.recipe.seed, epoch))
    return run.data.train.order(rng, run.recipe.batch)


def seed_of(recipe: Recipe, step: int) -> int:
    """Return the seed of a step, different for each (seed, step) and below 2**62."""
    return (recipe.seed * 2**31 + step) % 2**62


def augmentation(recipe: Recipe, now: Phase, *, side: int = 0) -> Augmentation:
    """Return the augmentation of training images in a phase.

    side  size of the images in pixels; 0: the phase's resolution.
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
