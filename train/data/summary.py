"""Summary of a data set without decoding it, for plans that are made before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from train.data.find import find
from train.data.listing import held_out
from train.data.reading import common_side
from train.data.stores import Store
from vbs.accuracy import guessing

LOOK = 16  # images whose sizes are compared


@dataclass(frozen=True)
class DataSummary:
    """A summary of a data set.

    classes         names of the classes.
    train, minival  number of images that `train.data.load` would train on, and hold out.
    side            longer side in pixels that the first images share; None if they differ.
    digests         of the listings by split, as in `Data.settings`.
    chance          accuracy of guessing on the minival (`vbs.accuracy.guessing`); NaN without one.
    notes           lines about unused parts of the source and about choices that were made.
    """

    classes: tuple[str, ...]
    train: int
    minival: int
    side: int | None
    digests: dict[str, str]
    chance: float = float("nan")
    notes: tuple[str, ...] = ()


def summarise(
    text: str, *, minival: float, seed: int = 0, root: str | Path | None = None
) -> DataSummary:
    """Summarise the data set that `text` names; arguments and errors as in `train.data.load`."""
    found = find(text, seed=seed, root=root, download=True)
    count = len(found.train.rows)
    held = np.empty(0, np.int64)  # the labels of the minival
    if minival and found.val is not None:
        held = found.val.labels
    elif minival:
        held = found.train.labels[held_out(found.train.labels, minival, seed, found.classes)[1]]
        count -= len(held)
    digests = {name: each.digest() for name, each in found.listings().items() if each}
    return DataSummary(
        found.classes,
        count,
        len(held),
        _side(found.train.images, found.train.rows),
        digests,
        guessing(held, len(found.classes)),
        found.notes,
    )


def _side(images: Store | Tensor, rows: np.ndarray) -> int | None:
    if isinstance(images, Tensor):
        return max(images.shape[1:3])
    sides = common_side(images, rows, LOOK)
    return max(sides) if sides else None
