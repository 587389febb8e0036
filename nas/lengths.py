"""Fidelities with enough optimizer steps; see `train.length`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas.evaluators.proxy import Fidelity, used_images
from train.length import described, enough_epochs, names_epochs, too_short
from train.recipe import Recipe


def fidelity_of(
    text: str, recipe: Recipe, changes: Sequence[str], *, images: int, epochs: int | None = None
) -> Fidelity:
    """The fidelity that a text and the changes of a recipe mean, on so many training images.

    Where neither names the epochs, they are `epochs` (default: the recipe's), or as many as its
    `least_steps` take.
    """
    found = Fidelity.parse(text, epochs=epochs or recipe.epochs)
    if text_names_epochs(text) or names_epochs(changes):
        return found
    used = used_images(found, images)
    return replace(found, epochs=enough_epochs(recipe, used, epochs=found.epochs))


def text_names_epochs(text: str) -> bool:
    """Whether a fidelity, as the user wrote it, names the epochs."""
    return any(part.strip().startswith("epochs=") for part in text.split(","))


def length_lines(
    recipe: Recipe,
    fidelity: Fidelity,
    *,
    images: int,
    judged: int = 0,
    option: str = "--fidelity {text}",
) -> tuple[str, str]:
    """The length of a training as printed, and a warning where it is too short ("" if not).

    recipe  fitted to the fidelity. images: training images of the data set, of which it uses some.
    judged  epoch after which trainings are compared first; 0 where none is stopped early.
    option  what names the fidelity, with "{text}" in its place.
    """
    used = used_images(fidelity, images)
    longer = str(fidelity).replace(f"epochs={fidelity.epochs}", "epochs={epochs}", 1)
    warning = too_short(recipe, used, option.format(text=longer))
    return described(recipe, used, judged=judged), warning
