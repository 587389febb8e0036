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
    """Return the batches that this process works on in turn.

    order  images of the run's next steps, [steps, batch], all in its current epoch.
    """
    here, share, recipe = run.world, share_of(run.recipe, run.world), run.recipe
    count = recipe.batch // share
    mirrored = _mirrored(run)
    return [
        Step(
            indices,
            slice(part * share, (part + 1) * share),
            seed_of(recipe, run.step + ahead),
            None if mirrored is None else mirrored[indices],
        )
        for ahead, indices in enumerate(order)
        # process r takes parts r, r + size, ...: the order of a single process
        for part in range(here.rank, count, here.size)
    ]


def _mirrored(run: Run) -> np.ndarray | None:
    """Return whether each training image is mirrored in the current epoch, bool [images].

    None: mirrored at random. With `alternating_flip` a random half of the images is mirrored in
    the first epoch, the other half in the second, and so on (cifar10-airbench, arXiv 2404.00498).
    """
    if not run.recipe.alternating_flip:
        return None
    # another length than the (seed, epoch) of `order_of`, so that the streams differ
    rng = np.random.default_rng((run.recipe.seed, 0, 1))
    first = rng.integers(2, size=len(run.data.train))
    return (first + len(run.history)) % 2 == 1


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
