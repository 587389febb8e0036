"""What a data set is, without decoding it: for plans that are made before anything is loaded."""

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
    """A data set at a glance.

    classes         their names.
    train, minival  images that `train.data.load` would train on, and hold out.
    side            the longer side in pixels that the first images share; None where they differ.
    digests         of the listings by split, as in `Data.settings`.
    chance          what guessing gets on the minival, see `vbs.accuracy.guessing`; NaN without one.
    notes           what of the source is not used, and what was chosen, in lines for people.
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
    """The data set that `text` names, see `train.data.load`; ValueError likewise."""
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
