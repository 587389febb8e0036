"""Fidelities with enough optimizer steps; `train.length` defines how many are enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas.evaluators.proxy import Fidelity, used_images
from train.length import described, enough_epochs, names_epochs, too_short
from train.recipe import Recipe


def fidelity_of(
    text: str, recipe: Recipe, changes: Sequence[str], *, images: int, epochs: int | None = None
) -> Fidelity:
    """Parse a fidelity and choose its epochs.

    text     fidelity, such as "epochs=8,share=0.2".
    changes  changes of the recipe by the user, as "name=value".
    images   training images of the data set.
    epochs   epochs if neither `text` nor `changes` sets them (None: those of the recipe); they are
             raised until the training has the recipe's `least_steps` optimizer steps.
    """
    found = Fidelity.parse(text, epochs=epochs or recipe.epochs)
    if text_names_epochs(text) or names_epochs(changes):
        return found
    used = used_images(found, images)
    return replace(found, epochs=enough_epochs(recipe, used, epochs=found.epochs))


def text_names_epochs(text: str) -> bool:
    """Return whether the text of a fidelity sets the epochs."""
    return any(part.strip().startswith("epochs=") for part in text.split(","))


def length_lines(
    recipe: Recipe,
    fidelity: Fidelity,
    *,
    images: int,
    judged: int = 0,
    option: str = "--fidelity {text}",
) -> tuple[str, str]:
    """Return the printed length of a training, and a warning if it is too short (otherwise "").

    recipe  recipe fitted to the fidelity.
    images  training images of the data set; the fidelity may use a part of them.
    judged  epoch after which trainings are first compared; 0 if none is stopped early.
    option  option that sets the fidelity, with "{text}" in place of its value.
    """
    used = used_images(fidelity, images)
    longer = str(fidelity).replace(f"epochs={fidelity.epochs}", "epochs={epochs}", 1)
    warning = too_short(recipe, used, option.format(text=longer))
    return described(recipe, used, judged=judged), warning
