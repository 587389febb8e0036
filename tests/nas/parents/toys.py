"""Test helper: a trained parent and images that are so small that a search takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from search_spaces.architecture import Architecture, Stage
from train.checkpoint import Weights, write_weights
from train.data import Data, load
from train.execution import Execution
from train.loop import train
from train.recipe import change, preset

CLASSES = ("blue", "green", "red")
SIDE = 32
PARENT = Architecture(
    stem=16,
    head=32,
    resolution=SIDE,
    classes=len(CLASSES),
    stages=(
        Stage("mbconv", 1, 3, 1, 1, 8, se=0.0),
        Stage("mbconv", 3, 5, 2, 4, 16),
        Stage("mbconv", 2, 3, 2, 4, 24, se=0.0),
    ),
)


def image_folder(place: Path, *, train: int = 40, test: int = 12) -> str:
    """Write images of 3 classes that differ in colour; return the value of --data for them."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(reversed(CLASSES)):
            (place / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(190, size=(SIDE, SIDE, 3), dtype=np.uint8)
                pixels[..., label] += 60
                Image.fromarray(pixels).save(place / split / name / f"{index}.png")
    return f"imagefolder:{place}"


def images(place: Path) -> Data:
    """Return the loaded images of `image_folder`."""
    return load(image_folder(place), minival=0.2)


def trained_parent(path: Path, data: Data) -> str:
    """Train the parent for a few epochs; return the file of its weights."""
    recipe = change(
        preset("proxy"), ["epochs=6", "batch=16", "resolution=32", "ema_decay=0", "lr=0.1"]
    )
    result = train(PARENT, data, recipe, execution=Execution(device="cpu"))
    assert result.network is not None
    assert not result.failed
    tensors = result.network.state_dict()
    write_weights(path, Weights(tensors, PARENT, CLASSES, recipe.mean, recipe.std, SIDE, 1.0, {}))
    return str(path)
