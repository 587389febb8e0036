"""Check of running out of memory: the reason of the failed run names a device_batch that fits.

The next run in the same process, with that device_batch, must succeed. The number of images exceeds
the memory of any GPU. In a dry run a split of images raises the out-of-memory error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import CLASSES, TINY, images
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from train.data import Data, ImageRequest
from train.data.in_memory import MemorySplit
from train.execution import Execution
from train.loop import Result, train
from train.recipe import change, preset

IMAGE = 12 * 2**20  # least bytes for an image of 224 px in a training step of B0
LEAST = 1024  # images
PART = re.compile(r"device_batch=(\d+) would likely fit")
GOAL = "ends with a reason that names a device_batch, which then fits"
DRY = 32  # images of a dry run; more than half are out of memory


class Scarce(MemorySplit):
    """Images of which more than a number at once are out of memory."""

    most = DRY // 2

    def pictures(
        self, requests: Sequence[ImageRequest], *how: Any, **more: Any
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """See `Split.pictures`."""
        if max(len(request.indices) for request in requests) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory (dry run)")
        return super().pictures(requests, *how, **more)


def check(here: Conditions, keep: Keep) -> Finding:
    """Return the reason of the first run, and the result of the second one."""
    architecture = here.pick(dataclasses.replace(zoo("efficientnet_b0"), classes=CLASSES), TINY)
    batch = here.pick(_too_many, lambda: DRY)()
    data = _data(here, architecture, batch)
    first = _trained(here, architecture, data, batch)
    said = PART.search(first.failed)
    held = torch.cuda.memory_allocated() / 1e6 if here.device == "cuda" else 0.0
    found = finding(first.failed, goal=GOAL, passed=False, reason=first.failed, batch=batch)
    keep(found)
    if said is None:
        return found
    part = int(said[1])
    second = _trained(here, architecture, data, batch, device_batch=part)
    return finding(
        f"batch {batch}: device_batch={part} proposed, then {second.failed or 'trained'}",
        goal=GOAL,
        passed=not second.failed and second.steps == 1,
        reason=first.failed,
        batch=batch,
        device_batch=part,
        second_failed=second.failed,
        held_after_failure_mb=held,
        peak_mb=second.history[-1]["memory_mb"] if second.history else None,
    )


def _too_many() -> int:
    """Return a power of two of images that are too many for a training step of B0."""
    total = torch.cuda.get_device_properties(0).total_memory
    return max(LEAST, 2 ** int(np.ceil(np.log2(total / IMAGE))))


def _data(here: Conditions, architecture: Architecture, batch: int) -> Data:
    """Return `batch` images, most of them repeated."""
    some = images(here.pick(256, DRY), side=architecture.resolution, seed=1)
    rows = np.arange(batch) % len(some)
    targets = some.targets[torch.from_numpy(rows)]
    train_split = here.pick(MemorySplit, Scarce)(some.pixels, targets, rows)
    names = tuple(map(str, range(CLASSES)))
    return Data("patterns", names, train_split, None, None, {"source": "patterns"}, ())


def _trained(
    here: Conditions, architecture: Architecture, data: Data, batch: int, *, device_batch: int = 0
) -> Result:
    """Run one step of a training."""
    changes = ["epochs=1", "warmup_epochs=0", "minival=0", "lr=0.01", "lr_batch=0"]
    changes += [f"batch={batch}", f"device_batch={device_batch}"]
    recipe = change(preset("proxy"), changes)
    return train(architecture, data, recipe, execution=Execution(device=here.device))
