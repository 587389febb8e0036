"""CIFAR-10 to 90% on the test images, in seconds of training.

A small network of dense convolutions, which GPUs run efficiently, is trained with the recipe
`proxy` in large batches; the epochs are doubled until 90% is reached. Each training is a full one,
because the schedule ends with it. The seconds are those of the training without loading and
evaluation; the weights are those after the last epoch, without selection.
"""

from __future__ import annotations

import time
from typing import Any

from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import TINY, learnable
from search_spaces.architecture import Architecture, Stage
from search_spaces.cost import cost
from train.data import Data, load
from train.execution import Execution
from train.loop import Result, train
from train.recipe import Recipe, change, preset

GOAL = 90.0  # required percent of the test images
EPOCHS = (8, 16, 32)
NETWORK = Architecture(
    stem=48,
    head=512,
    resolution=32,
    classes=10,
    stem_stride=1,
    stages=(
        Stage("fused", 2, 3, 1, 1, 64, se=0.0),
        Stage("fused", 2, 3, 2, 2, 128, se=0.0),
        Stage("fused", 2, 3, 2, 2, 256, se=0.0),
    ),
)


def check(here: Conditions, keep: Keep) -> Finding:
    """Return test accuracy and seconds of each training and of the first that reached the goal."""
    began = time.perf_counter()
    data = images_of(here)
    loading = time.perf_counter() - began
    network = here.pick(NETWORK, TINY)
    rows: list[dict[str, Any]] = []
    found = finding("", loading_seconds=loading)
    for epochs in here.pick(EPOCHS, (1,)):
        if rows and here.left < 2.5 * rows[-1]["wall_seconds"]:
            break
        began = time.perf_counter()
        how = Execution(device=here.device)
        result = train(network, data, _recipe(here, epochs), execution=how)
        wall = time.perf_counter() - began
        rows.append(_row(epochs, result) | {"wall_seconds": wall})
        found = _judged(rows, loading, cost(network).flops)
        keep(found)
        if found["passed"]:
            break
    return found


def images_of(here: Conditions) -> Data:
    """Return the images of --data without a minival; in a dry run without --data, patterns.

    Raises ValueError if they have no test images.
    """
    if here.data is None:
        patterns = learnable(64, 32, side=TINY.resolution)
        return Data(**{**vars(patterns), "minival": None, "test": patterns.minival})
    data = load(here.data, minival=0.0)
    if data.test is None:
        raise ValueError(f"data: {here.data} has no test images")
    return data


def _recipe(here: Conditions, epochs: int) -> Recipe:
    size = here.pick(("batch=512", "lr=0.1"), ("batch=16",))
    changes = ["minival=0", f"epochs={epochs}", f"warmup_epochs={epochs / 6:g}", *size]
    return change(preset("proxy"), changes)


def _row(epochs: int, result: Result) -> dict[str, Any]:
    last = result.history[-1] if result.history else {}
    return {
        "epochs": epochs,
        "failed": result.failed,
        "test_top1": result.test.top1 if result.test else None,
        "train_seconds": result.seconds,
        "images_per_second": last.get("images_per_second"),
    }


def _judged(rows: list[dict[str, Any]], loading: float, flops: int) -> Finding:
    """Return the first training that reached the goal, or the last one."""
    reached = next((row for row in rows if (row["test_top1"] or 0.0) >= GOAL), None)
    shown = reached or rows[-1]
    top1 = shown["failed"] or f"{shown['test_top1']:.2f}%"
    return finding(
        f"{top1} in {shown['train_seconds']:.1f} s ({shown['epochs']} epochs)",
        goal=f"{GOAL:g}%",
        passed=reached is not None,
        seconds_to_goal=reached["train_seconds"] if reached else None,
        loading_seconds=loading,
        flops=flops,
        trainings=rows,
    )
