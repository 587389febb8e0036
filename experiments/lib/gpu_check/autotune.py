"""cuDNN's choice of kernels by timing (torch.backends.cudnn.benchmark) in the training loop.

The loop leaves it off: trainings of a search last seconds, and choosing takes some of them. Here
are both sides of that, each in a process of its own, for what was chosen once stays chosen.
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
    """Images a second of the last epoch with it and without, and seconds of the first steps."""
    rows = {name: _alone(here, name == "timed") for name in ("heuristic", "timed")}
    speed = [rows[name]["images_per_second"] for name in ("timed", "heuristic")]
    first = [rows[name]["first_epoch_seconds"] for name in ("timed", "heuristic")]
    gain, costs = speed[0] / speed[1], first[0] - first[1]
    return finding(
        f"{gain:.2f} x the images/s, {costs:+.1f} s in the first epoch", gain=gain, trainings=rows
    )


def _alone(here: Conditions, timed: bool) -> dict[str, Any]:
    """A training in a process of its own."""
    spawn = multiprocessing.get_context("spawn")  # a forked process cannot use the GPU
    with ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(functools.partial(training, here), timed).result()


def training(here: Conditions, timed: bool) -> dict[str, Any]:
    """Images a second of the last epoch, and seconds of the first."""
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
