"""Reasons why a training run ends early, as one-line messages with a remedy."""

from __future__ import annotations

import math
from typing import Any

from train.memory_use import fitting_batch
from train.progressive import phase
from train.state import Run, share_of


class Stopped(Exception):
    """Raised to end a run early; its text is the reason."""


def is_sound(run: Run, row: dict[str, Any]) -> bool:
    """Return whether the losses and the weights at the end of an epoch are finite."""
    losses = [row.get("train_loss"), row.get("val_loss")]
    if not all(math.isfinite(loss) for loss in losses if loss is not None):
        return False
    return all(bool(value.isfinite().all()) for value in run.network.parameters())


def calmer(run: Run) -> str:
    """Return a remedy, appended to messages about a loss that is not a number or explodes."""
    calm = "" if run.recipe.clip_norm else ", or clip_norm=1"
    return f"; try a lower lr (it was {run.recipe.lr:g}) or a longer warm-up{calm}"


def out_of_memory(run: Run) -> str:
    """Return a message with the batch that was too large and a batch that fits."""
    recipe, share = run.recipe, share_of(run.recipe, run.world)
    side = phase(recipe, run.recipe.epochs - 1).resolution
    run.optimizer.zero_grad()
    fits = fitting_batch(
        run.network, batch=share, side=side, device=run.world.device, precision=run.precision
    )
    where = f"out of memory with {share} images of {side} px on the device"
    if not fits:
        return f"{where}; not even one image fits: use a smaller resolution or network"
    return f"{where}; device_batch={fits} would likely fit (the batch stays {recipe.batch})"
