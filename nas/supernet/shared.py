"""Shared weights of a supernet, trained once for all later searches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from train.recipe import Recipe
from train.supernet.training import (
    WEIGHTS,
    SupernetTraining,
    Trained,
    read_supernet,
    train_supernet,
)
from vbs.console import print_err
from vbs.lock import owned
from vbs.text import counted, shell_word
from vbs.units import minutes

CLIP = 5.0  # largest norm of the summed gradients of all networks in a step
EVERY = 30.0  # seconds between lines of progress
LOOK = 2.0  # seconds between two checks of a supernet that another process trains


def recipe_of(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe of a supernet: that of stand-alone trainings, for `epochs` epochs.

    Gradients are clipped. Progressive stages, the moving average of the weights, whitening of the
    stem and alternating flips are off.
    """
    return replace(
        recipe,
        epochs=epochs,
        warmup_epochs=recipe.warmup_epochs_of(epochs),
        clip_norm=recipe.clip_norm or CLIP,
        ema_decay=0.0,
        stages=1,
        min_resolution=0,
        stem="random",
        alternating_flip=False,
    )


def trained_weights(training: SupernetTraining, folder: Path, *, device: str) -> Trained:
    """Train the shared weights in a folder, or resume the training, unless it is finished.

    If another process trains them, wait for that process.
    """
    known = read_supernet(folder / WEIGHTS)
    if known is not None:
        print_err(
            f"supernet: trained before for {minutes(known.seconds)}, in {shell_word(f'{folder}/')}"
        )
        return known
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        print_err(
            f"supernet: the weights that all networks share are trained for "
            f"{counted(training.recipe.epochs, 'epoch')}, in {shell_word(f'{folder}/')}"
        )
        found = train_supernet(training, folder, device=device, report=_Lines())
        print_err(f"supernet: trained in {minutes(found.seconds)}")
        return found


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process trains in the folder, and lock it within the context."""
    waiting = False
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(owned(folder, "nas.search"))
            except ValueError as error:
                if " is in use by " not in str(error):
                    raise
                if not waiting:
                    print_err(f"supernet: another process trains it in {shell_word(str(folder))}")
                waiting = True
            else:
                yield
                return
        time.sleep(LOOK)


class _Lines:
    """Printer of the progress of a training."""

    def __init__(self) -> None:
        self._begun = self._printed = time.monotonic()
        self._first: int | None = None

    def __call__(self, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = step - 1
            if self._first:
                print_err(f"supernet: resumed at step {step:,} of {steps:,}")
        if now - self._printed < EVERY:
            return
        self._printed = now
        left = (now - self._begun) / (step - self._first) * (steps - step)
        print_err(
            f"supernet: step {step:,} of {steps:,}, loss {loss:.3f}, about {minutes(left)} left"
        )
