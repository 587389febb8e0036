"""A batch that does not fit: the run ends with a reason, which names a part of it that does fit,
and the next run of the same process, with that part, ends well.

The images are made to be too many for the memory of the GPU, whatever that is. In a dry run a
split of images says that memory ran out.
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

IMAGE = 12 * 2**20  # bytes at least that a training step of B0 takes for an image of 224 px
LEAST = 1024  # images
PART = re.compile(r"device_batch=(\d+) would likely fit")
GOAL = "ends with a reason that names a device_batch, which then fits"
DRY = 32  # images, of which half are too many


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
    """The reason of the first run, and how the second one ended."""
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
    """A power of two of images that B0 cannot be trained on at once here."""
    total = torch.cuda.get_device_properties(0).total_memory
    return max(LEAST, 2 ** int(np.ceil(np.log2(total / IMAGE))))


def _data(here: Conditions, architecture: Architecture, batch: int) -> Data:
    """So many images, of which few are different ones."""
    some = images(here.pick(256, DRY), side=architecture.resolution, seed=1)
    rows = np.arange(batch) % len(some)
    targets = some.targets[torch.from_numpy(rows)]
    train_split = here.pick(MemorySplit, Scarce)(some.pixels, targets, rows)
    names = tuple(map(str, range(CLASSES)))
    return Data("patterns", names, train_split, None, None, {"source": "patterns"}, ())


def _trained(
    here: Conditions, architecture: Architecture, data: Data, batch: int, *, device_batch: int = 0
) -> Result:
    """One step of a training."""
    changes = ["epochs=1", "warmup_epochs=0", "minival=0", "lr=0.01", "lr_batch=0"]
    changes += [f"batch={batch}", f"device_batch={device_batch}"]
    recipe = change(preset("proxy"), changes)
    return train(architecture, data, recipe, execution=Execution(device=here.device))
