"""Check that a training stopped in the middle of an epoch and resumed equals uninterrupted ones.

On a GPU equal trainings are equal only if its kernels sum in the same order. Deterministic kernels
are used where they exist; a resumed training may differ as much as two uninterrupted ones do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from experiments.lib.gpu_check.loop import short_recipe
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import learnable, network_for
from search_spaces.network import Network
from train.data import Data
from train.execution import Execution
from train.loop import Report, train
from train.recipe import Recipe

EXACT = 1e-6  # difference of weights, relative to the largest one, that is always allowed
TIMES = 3.0  # allowed multiple of the difference between two uninterrupted trainings


class StopAt(Report):
    """Ends the training after a step."""

    def __init__(self, last: int) -> None:
        self.last, self.now = last, 0

    def step(self, step: int, steps: int, loss: float | None) -> None:
        self.now = step

    def stop(self) -> bool:
        return self.now == self.last


def check(here: Conditions, keep: Keep) -> Finding:
    """Return the largest difference of weights between the trainings."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    network = network_for(here)
    data = learnable(here.pick(2048, 64), 0, side=network.resolution)
    # uses everything that a checkpoint holds: moving average, dropout, mixing
    recipe = short_recipe(here, "ema_decay=0.9", "dropout=0.2", "drop_path=0.2", "mixup=0.2")
    whole, again = (_weights(here, data, recipe) for _ in range(2))
    steps = recipe.epochs * (len(data.train) // recipe.batch)
    resumed = _weights(here, data, recipe, stop=steps // 2 + 1)
    repeated, apart = _difference(whole, again), _difference(whole, resumed)
    allowed = max(EXACT, TIMES * repeated)
    return finding(
        f"weights differ by {apart:.1e} (two uninterrupted trainings by {repeated:.1e})",
        goal=f"{allowed:.1e}",
        passed=apart <= allowed,
        resumed=apart,
        repeated=repeated,
        steps=steps,
    )


def _weights(here: Conditions, data: Data, recipe: Recipe, *, stop: int = 0) -> Network:
    """Return the network of a training, stopped after step `stop` and resumed if that is not 0."""
    folder = Path(here.folder) / "resume"
    shutil.rmtree(folder, ignore_errors=True)
    how = Execution(device=here.device, checkpoint=folder)
    architecture = network_for(here)
    if stop:
        first = train(architecture, data, recipe, execution=how, report=StopAt(stop))
        if first.failed != "interrupted":
            raise ValueError(f"resume: the training was not interrupted: {first.failed!r}")
    result = train(architecture, data, recipe, execution=how)
    if result.failed or result.network is None:
        raise ValueError(f"resume: the training failed: {result.failed}")
    return result.network


def _difference(one: Network, other: Network) -> float:
    """Return the largest difference of a weight or statistic, relative to its tensor's largest."""
    right = other.state_dict()
    return max(
        float((value - right[name]).abs().max() / value.abs().max().clamp(min=1e-6))
        for name, value in one.state_dict().items()
        if value.is_floating_point()
    )
