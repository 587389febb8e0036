"""Length of trainings in optimizer steps; the same rule for all commands.

The number of epochs does not determine the length: an epoch of CIFAR-10 has 351 steps, an epoch of
650 photographs has 5.
A recipe for small data therefore gives the fewest steps of a useful training
(`Recipe.least_steps`), and commands raise the epochs to reach them unless the user sets the epochs.
Trainings are compared, and the worse ones stopped, after at least `FIRST_JUDGED` steps: small
networks then had 70 to 96% of the accuracy that 300 steps give, with 10 and with 40 classes, and
all were far above chance (experiments/training_length.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from train.recipe import Recipe
from vbs.text import counted

FIRST_JUDGED = 100  # optimizer steps


def steps_per_epoch(recipe: Recipe, images: int) -> int:
    """Return the optimizer steps of an epoch; 1 if the images do not fill a batch."""
    return max(1, images // recipe.batch)


def check_batch(recipe: Recipe, images: int) -> None:
    """Raise ValueError if a batch is larger than the number of training images."""
    if images < recipe.batch:
        raise ValueError(
            f"batch: {recipe.batch:,} images are more than the {images:,} to train on; use e.g. "
            f"--set batch={max(1, min(128, images // 8))}"
        )


def names_epochs(changes: Iterable[str]) -> bool:
    """Return whether the user's changes of a recipe (`--set`) set its epochs."""
    return any(text.partition("=")[0] == "epochs" for text in changes)


def enough_epochs(recipe: Recipe, images: int, *, epochs: int | None = None) -> int:
    """Return the epochs (default: the recipe's), raised if `least_steps` takes more."""
    usual = recipe.epochs if epochs is None else epochs
    return max(usual, math.ceil(recipe.least_steps / steps_per_epoch(recipe, images)))


def lengthened(recipe: Recipe, images: int) -> Recipe:
    """Return the recipe with `enough_epochs`; the warm-up keeps its share of the training."""
    epochs = enough_epochs(recipe, images)
    if epochs == recipe.epochs:
        return recipe
    return replace(recipe, epochs=epochs, warmup_epochs=recipe.warmup_epochs_of(epochs))


def first_judged(epochs: int, per_epoch: int) -> int:
    """Return the epoch after which trainings are first compared.

    It is a quarter of the epochs, or more if `FIRST_JUDGED` steps take more. It may be the last
    epoch or exceed `epochs`; then no training is stopped early.
    """
    return max(1, epochs // 4, math.ceil(FIRST_JUDGED / per_epoch))


def described(recipe: Recipe, images: int, *, judged: int = 0) -> str:
    """Return the length as text, e.g. "60 epochs x 5 steps = 300 optimizer steps".

    judged  epoch after which trainings are first compared; 0 if none is stopped early.
    """
    per_epoch = steps_per_epoch(recipe, images)
    plural = "s" if recipe.epochs > 1 else ""
    text = (
        f"{recipe.epochs:,} epoch{plural} x {per_epoch:,} step{'s' if per_epoch > 1 else ''} = "
        f"{counted(recipe.epochs * per_epoch, 'optimizer step')}"
    )
    if judged >= recipe.epochs:
        return f"{text}; none is stopped early"
    return f"{text}; first compared after {judged * per_epoch:,}" if judged else text


def too_short(recipe: Recipe, images: int, option: str = "--set epochs={epochs}") -> str:
    """Return a warning if the training has fewer than `least_steps` steps, else "".

    option  the option that raises the epochs, with "{epochs}" for their number.
    """
    steps = recipe.epochs * steps_per_epoch(recipe, images)
    if steps >= recipe.least_steps:
        return ""
    remedy = option.format(epochs=enough_epochs(recipe, images))
    return (
        f"warning: {steps:,} optimizer steps are few: recipe {recipe.name} needs about "
        f"{recipe.least_steps:,}, and shorter trainings are not reliable; use {remedy}"
    )
