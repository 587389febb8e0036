"""Check of the training loop on the device: channels_last, float32 and bfloat16."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import torch

from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import learnable, network_for
from train.data import Data
from train.execution import Execution
from train.loop import Report, Result, train
from train.recipe import Recipe, change, preset

PRECISIONS = ("float32", "bfloat16")
LEARNED = 90.0  # required percent of held-out images


def check(here: Conditions, keep: Keep) -> Finding:
    """Return held-out accuracy, images/s and memory of a training in each precision."""
    network = network_for(here)
    data = learnable(*here.pick((8192, 1024), (64, 32)), side=network.resolution)
    rows: dict[str, Any] = {}
    found = finding("")
    for precision in PRECISIONS:
        recipe = short_recipe(here, f"precision={precision}")
        result, clock = trained(here, recipe, data)
        rows[precision] = row_of(result, clock)
        found = _judged(rows)
        keep(found)
    return found


def short_recipe(here: Conditions, *changes: str) -> Recipe:
    """Return recipe `proxy` for some hundred steps."""
    length = here.pick(("epochs=4", "batch=128"), ("epochs=2", "batch=16"))
    return change(preset("proxy"), [*length, "warmup_epochs=0.5", "minival=0", *changes])


class Clock(Report):
    """Records when each step was launched."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.times: list[float] = []

    def step(self, step: int, steps: int, loss: float | None) -> None:
        self.times.append(time.perf_counter() - self.begun)


def trained(here: Conditions, recipe: Recipe, data: Data) -> tuple[Result, Clock]:
    """Run a training of the network; return its result, and when its steps were launched."""
    clock = Clock()
    how = Execution(device=here.device)
    return train(network_for(here), data, recipe, execution=how, report=clock), clock


def row_of(result: Result, clock: Clock) -> dict[str, Any]:
    """Return the results of a training as plain data."""
    last = result.history[-1] if result.history else {}
    weights = [] if result.network is None else list(result.network.parameters())
    kernels = [each for each in weights if each.ndim == 4]
    return {
        "failed": result.failed,
        "steps": result.steps,
        "losses": [row["train_loss"] for row in result.history],
        "top1": result.chosen.get("top1"),
        "images_per_second": last.get("images_per_second"),
        "memory_mb": last.get("memory_mb"),
        "first_step_seconds": clock.times[0] if clock.times else None,
        "device": str(weights[0].device) if weights else "",
        "channels_last": all(
            each.is_contiguous(memory_format=torch.channels_last) for each in kernels
        ),
    }


def _judged(rows: dict[str, dict[str, Any]]) -> Finding:
    shown = [f"{name} {row['failed'] or _in_words(row)}" for name, row in rows.items()]
    return finding(
        "; ".join(shown),
        goal=f"{LEARNED:g}% held out, channels_last",
        passed=is_learned(rows.values()) and len(rows) == len(PRECISIONS),
        trainings=rows,
    )


def _in_words(row: dict[str, Any]) -> str:
    return f"{row['top1']:.1f}%, {row['images_per_second']:,.0f} images/s"


def is_learned(rows: Iterable[dict[str, Any]]) -> bool:
    """Return whether all trainings ended, learned, and kept their weights in channels_last."""
    return all(
        not row["failed"] and (row["top1"] or 0.0) >= LEARNED and row["channels_last"]
        for row in rows
    )
