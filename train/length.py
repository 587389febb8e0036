"""How long a training must be, in optimizer steps; the rule of all commands.

Epochs say little: one of CIFAR-10 has 351 steps, one of 650 photographs has 5. A recipe for small
data therefore names the steps of a useful training (`Recipe.least_steps`), and commands raise the
epochs that give fewer, unless the user named them. Trainings are compared with each other, and the
worse stopped, after `FIRST_JUDGED` steps at the earliest: small networks then had 70 to 96% of the
accuracy that 300 steps give, with 10 and with 40 classes, and all were far from chance
(experiments/training_length.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from train.recipe import Recipe
from vbs.text import counted

FIRST_JUDGED = 100  # optimizer steps


def steps_per_epoch(recipe: Recipe, images: int) -> int:
    """Optimizer steps of an epoch of so many training images; 1 where they fill no batch."""
    return max(1, images // recipe.batch)


def names_epochs(changes: Iterable[str]) -> bool:
    """Whether the user's changes of a recipe (`--set`) name its epochs."""
    return any(text.partition("=")[0] == "epochs" for text in changes)


def enough_epochs(recipe: Recipe, images: int, *, epochs: int | None = None) -> int:
    """`epochs` (default: the recipe's), or as many more as the recipe's `least_steps` take."""
    usual = recipe.epochs if epochs is None else epochs
    return max(usual, math.ceil(recipe.least_steps / steps_per_epoch(recipe, images)))


def lengthened(recipe: Recipe, images: int) -> Recipe:
    """The recipe with `enough_epochs`; the warm-up keeps its share of the training."""
    epochs = enough_epochs(recipe, images)
    if epochs == recipe.epochs:
        return recipe
    return replace(recipe, epochs=epochs, warmup_epochs=recipe.warmup_epochs_of(epochs))


def first_judged(epochs: int, per_epoch: int) -> int:
    """The epoch after which trainings are compared first: a quarter of them, of enough steps.

    It may be the last one, or none at all (more than `epochs`): then nothing is stopped early.
    """
    return max(1, epochs // 4, math.ceil(FIRST_JUDGED / per_epoch))


def described(recipe: Recipe, images: int, *, judged: int = 0) -> str:
    """The length as printed, e.g. "60 epochs x 5 steps = 300 optimizer steps".

    judged  epoch after which trainings are compared first; 0 where none is stopped early.
    """
    per_epoch = steps_per_epoch(recipe, images)
    plural = "s" if recipe.epochs > 1 else ""
    text = (
        f"{recipe.epochs:,} epoch{plural} x {per_epoch:,} step{'s' if per_epoch > 1 else ''} = "
        f"{counted(recipe.epochs * per_epoch, 'optimizer step')}"
    )
    if judged >= recipe.epochs:
        return f"{text}; none is stopped early"
    return f"{text}; judged first after {judged * per_epoch:,}" if judged else text


def too_short(recipe: Recipe, images: int, option: str = "--set epochs={epochs}") -> str:
    """A warning where a training has fewer than the steps of a useful one; "" where it has enough.

    option  what raises the epochs, with "{epochs}" in place of their number.
    """
    steps = recipe.epochs * steps_per_epoch(recipe, images)
    if steps >= recipe.least_steps:
        return ""
    remedy = option.format(epochs=enough_epochs(recipe, images))
    return (
        f"warning: {steps:,} optimizer steps are few: recipe {recipe.name} needs about "
        f"{recipe.least_steps:,}, and shorter trainings say little; use {remedy}"
    )
