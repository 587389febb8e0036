"""Test helper: a data set and a network whose epochs take a fraction of a second."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from search_spaces.architecture import Architecture, Stage
from train.data import Data
from train.data.in_memory import MemorySplit
from train.execution import Execution
from train.recipe import Recipe, change, preset

CPU = Execution(device="cpu")
CLASSES = ("red", "green", "blue")
NETWORK = Architecture(
    stem=8,
    head=16,
    resolution=16,
    classes=len(CLASSES),
    stages=(Stage("mbconv", 2, 3, 1, 2, 8), Stage("fused", 1, 3, 2, 2, 8, se=0.0)),
)


def split(count: int, *, seed: int, noise: int = 120) -> MemorySplit:
    """Return images of noise in which the channel of the class is brighter."""
    rng = np.random.default_rng(seed)
    targets = torch.from_numpy(rng.integers(len(CLASSES), size=count))
    images = torch.from_numpy(rng.integers(noise, size=(count, 3, 16, 16), dtype=np.uint8))
    images[torch.arange(count), targets] += 60
    return MemorySplit(images, targets)


def data(*, train: int = 96, minival: int = 30, test: int = 30) -> Data:
    return Data(
        "toys",
        CLASSES,
        split(train, seed=1),
        split(minival, seed=2) if minival else None,
        split(test, seed=3) if test else None,
        {"source": "toys", "digests": {"train": "1"}},
        (),
    )


def recipe(*changes: str) -> Recipe:
    """Return a short recipe that uses every random operation."""
    busy = [
        "epochs=2",
        "batch=16",
        "resolution=16",
        "warmup_epochs=0.5",
        "dropout=0.2",
        "drop_path=0.2",
        "ema_decay=0.9",
        "mixup=0.2",
    ]
    return change(preset("proxy"), [*busy, *changes])


def batch(count: int = 12, side: int = 16, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return images [count, 3, side, side] and their labels."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, side, side, generator=generator)
    return images, torch.randint(classes, (count,), generator=generator)
