"""Images for calibrating, choosing and measuring exports: those of the training, or others.

Calibration uses training images. Choices between exports (calibration method, layers left in float)
use the minival. The reported accuracy is measured on the test images, if the data set has them, so
that the choices do not bias it.
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

CHOICE = 512  # most images to compare exports on
BATCH = 32


@dataclass(frozen=True)
class Images:
    """Images of a data set with the classes of the network.

    name         name of the data set.
    calibration  training images.
    choice       held-out images for choices; those of `test` if too few could be held out.
    test         held-out images for the reported accuracy; `choice` if there are no others.
    kind         kind of `test`: "test" or "minival"; "training" if the training may have used them,
                 because the data set has no test images and the recipe no minival.
    """

    name: str
    calibration: Split
    choice: Split
    test: Split
    kind: str


def images_of(
    weights: Weights, folder: Path, data: str | None, root: str | None, counts: tuple[int, int]
) -> tuple[Images | None, str]:
    """Return images for an export of weights in a run's folder; or None and the reason.

    data    a data set as in training; None: that in the record of the training.
    root    folder of named sets.
    counts  most images to calibrate on, and to report the accuracy on.

    Raises ValueError (one line) if `data` is given and is not a data set of the network.
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
    own, seed = _held_out(recipe, folder)  # to get the images that the training held out

    def read(minival: float) -> Data:
        reading = Reading(channels=weights.architecture.in_channels, download=False)
        return load(data or recorded, minival=minival, seed=seed, root=root, reading=reading)

    try:
        loaded = read(own or 0.1)
    except ValueError:
        loaded = read(0.0)  # if too few images can be held out; other errors occur again
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
    """Return data and recipe from the record of a training; "" and {} if not recorded."""
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
    """Raise ValueError unless the data set has the network's classes in the same order."""
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
    """Return `count` random images, always the same; all in order if there are no more."""
    if len(split) <= count:
        return split
    chosen = np.random.default_rng(0).permutation(len(split))[:count]
    return split.select(np.sort(chosen))


def prepared(
    split: Split, how: Preprocessing, batch: int = BATCH
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of prepared float32 images [n, c, side, side], and their labels."""
    for images, targets in split.batches(evaluation_steps(len(split), batch), how.preparation):
        yield images.contiguous(), targets if targets.ndim == 1 else targets.argmax(1)


def decoded(split: Split, how: Preprocessing) -> Iterator[Tensor]:
    """Yield each image decoded, uint8 [1, height, width, c]."""
    for index in range(len(split)):
        yield torch.from_numpy(split.picture(index)[None, :, :, : how.channels].copy())
