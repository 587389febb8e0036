"""cuDNN's choice of kernels by timing (torch.backends.cudnn.benchmark) in the training loop.

The loop leaves it off, because trainings of a search last seconds and the choice takes some of
them. Both settings are measured here, each in a process of its own, because a choice persists in a
process.
"""

from __future__ import annotations

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from experiments.lib.gpu_check.loop import short_recipe, trained
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import learnable, network_for


def check(here: Conditions, keep: Keep) -> Finding:
    """Return images/s of the last epoch with and without it, and seconds of the first epoch."""
    rows = {name: _alone(here, name == "timed") for name in ("heuristic", "timed")}
    speed = [rows[name]["images_per_second"] for name in ("timed", "heuristic")]
    first = [rows[name]["first_epoch_seconds"] for name in ("timed", "heuristic")]
    gain, costs = speed[0] / speed[1], first[0] - first[1]
    return finding(
        f"{gain:.2f} x the images/s, {costs:+.1f} s in the first epoch", gain=gain, trainings=rows
    )


def _alone(here: Conditions, timed: bool) -> dict[str, Any]:
    """Run a training in a process of its own."""
    spawn = multiprocessing.get_context("spawn")  # a forked process cannot use the GPU
    with ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(functools.partial(training, here), timed).result()


def training(here: Conditions, timed: bool) -> dict[str, Any]:
    """Return images/s of the last epoch, and seconds of the first."""
    torch.backends.cudnn.benchmark = timed
    network = network_for(here)
    data = learnable(here.pick(8192, 64), 0, side=network.resolution)
    result, clock = trained(here, short_recipe(here, "precision=auto"), data)
    if result.failed:
        raise ValueError(f"autotune: the training failed: {result.failed}")
    return {
        "images_per_second": result.history[-1]["images_per_second"],
        "first_epoch_seconds": clock.times[len(clock.times) // len(result.history) - 1],
    }
