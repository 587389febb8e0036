"""Images that an export is calibrated, chosen and measured on: those of its training, or others.

Calibration uses training images. What is chosen among several exports (the calibration method,
the layers left in float) is chosen on the minival, and the accuracy that is reported is of the
test images, where the data set has them: it holds no luck of the choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.checkpoint import Weights
from train.data import Data, Reading, Split, evaluation_steps, load
from train.preprocessing import Preprocessing
from train.recipe import preset
from train.record import read_run
from vbs.text import quoted, shortened

CHOICE = 512  # most images that exports are compared on, to choose one
BATCH = 32


@dataclass(frozen=True)
class Images:
    """Images of a data set that has the classes of the network.

    name         of the data set.
    calibration  training images.
    choice       held-out images to choose by; the ones of `test` where too few could be held out.
    test         held-out images whose accuracy is reported; `choice` where there are no others.
    kind         what `test` is: "test" or "minival"; "training" where the network may have been
                 trained on them, since its data set has no test images and its recipe no minival.
    """

    name: str
    calibration: Split
    choice: Split
    test: Split
    kind: str


def images_of(
    weights: Weights, folder: Path, data: str | None, root: str | None, counts: tuple[int, int]
) -> tuple[Images | None, str]:
    """Images for an export of weights in a run's folder; None, and why, where there are none.

    data    names a data set as in training; None: the one that the record of the training names.
    root    folder of named sets.
    counts  most images to calibrate on and to report the accuracy of.

    Raises ValueError, one line, where `data` is given and is not a data set of the network.
    """
    try:
        return _loaded(weights, folder, data, root, counts), ""
    except (ImportError, KeyError, TypeError, OSError, ValueError) as error:
        if data is not None and isinstance(error, OSError | ValueError):
            raise
        return None, " ".join(str(error).split()) or type(error).__name__


def _loaded(
    weights: Weights, folder: Path, data: str | None, root: str | None, counts: tuple[int, int]
) -> Images:
    recorded, recipe = _recorded(weights, folder)
    if not (data or recorded):
        raise ValueError("neither the weights nor a run.json beside them name their data")
    own, seed = _held_out(recipe, folder)  # the images that the training held out, not others

    def read(minival: float) -> Data:
        reading = Reading(channels=weights.architecture.in_channels, download=False)
        return load(data or recorded, minival=minival, seed=seed, root=root, reading=reading)

    try:
        loaded = read(own or 0.1)
    except ValueError:
        loaded = read(0.0)  # too few images to hold some out, or another error again
    _check_classes(weights.classes, loaded.classes)
    held, test, kind = loaded.minival, loaded.test, "test"
    if test is None:
        test, kind = (held, "minival") if held is not None and own else (loaded.train, "training")
    return Images(
        loaded.name,
        _shuffled(loaded.train, counts[0]),
        _shuffled(test if held is None else held, CHOICE),
        _shuffled(test, counts[1]),
        kind,
    )


def _recorded(weights: Weights, folder: Path) -> tuple[str, dict[str, Any]]:
    """What a training's record says of its data and its recipe; "" and {} where it does not."""
    try:
        run = read_run(folder)
        data, recipe = run.data, run.training.get("recipe")
    except ValueError:
        data, recipe = "", None
    data = data or weights.about.get("data") or ""
    recipe = recipe or weights.about.get("recipe") or {}
    return str(data), recipe if isinstance(recipe, dict) else {}


def _held_out(recipe: dict[str, Any], folder: Path) -> tuple[float, int]:
    """Return the share of images that the training held out, and its seed.

    Raises ValueError if the recorded values are not those of a recipe.
    """
    fields = {name: recipe[name] for name in ("minival", "seed") if name in recipe}
    try:
        checked = replace(preset("finetune"), **fields)
    except ValueError as error:
        where = shortened(folder)
        raise ValueError(f"network: the recorded recipe of {where} is damaged ({error})") from None
    return checked.minival, checked.seed


def _check_classes(own: tuple[str, ...], others: tuple[str, ...]) -> None:
    """ValueError unless the data set has the network's classes in the same order."""
    if own == others:
        return
    if len(own) != len(others):
        raise ValueError(
            f"data: {len(others)} classes, the network has {len(own)}; use the data it was "
            "trained on, or a part of it with the same classes"
        )
    index, (mine, other) = next(
        (index, pair)
        for index, pair in enumerate(zip(own, others, strict=True))
        if pair[0] != pair[1]
    )
    raise ValueError(
        f"data: class {index} is {quoted(other)}, the network's is {quoted(mine)}; use the data "
        "it was trained on, or a part of it with the same classes"
    )


def _shuffled(split: Split, count: int) -> Split:
    """`count` images at random, always the same ones; all in order where there are no more."""
    if len(split) <= count:
        return split
    chosen = np.random.default_rng(0).permutation(len(split))[:count]
    return split.select(np.sort(chosen))


def prepared(
    split: Split, how: Preprocessing, batch: int = BATCH
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of float32 images [n, c, side, side] as the network takes them, and their labels."""
    for images, targets in split.batches(evaluation_steps(len(split), batch), how.preparation):
        yield images.contiguous(), targets if targets.ndim == 1 else targets.argmax(1)


def decoded(split: Split, how: Preprocessing) -> Iterator[Tensor]:
    """Each image as it is, uint8 [1, height, width, c]."""
    for index in range(len(split)):
        yield torch.from_numpy(split.picture(index)[None, :, :, : how.channels].copy())
