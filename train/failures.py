"""Why a training run ends early, in one line that says what to change."""

from __future__ import annotations

import math
from typing import Any

from train.memory_use import fitting_batch
from train.progressive import phase
from train.state import Run, share_of


class Stopped(Exception):
    """Ends a run from inside; its text is the reason."""


def is_sound(run: Run, row: dict[str, Any]) -> bool:
    """Whether losses and weights are numbers: the last step of all has no later loss to tell."""
    losses = [row.get("train_loss"), row.get("val_loss")]
    if not all(math.isfinite(loss) for loss in losses if loss is not None):
        return False
    return all(bool(value.isfinite().all()) for value in run.network.parameters())


def calmer(run: Run) -> str:
    """What to try where the loss is not a number or explodes, to be appended to a message."""
    calm = "" if run.recipe.clip_norm else ", or clip_norm=1"
    return f"; try a lower lr (it was {run.recipe.lr:g}) or a longer warm-up{calm}"


def out_of_memory(run: Run) -> str:
    """What did not fit into memory, and which part of the batch would."""
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
