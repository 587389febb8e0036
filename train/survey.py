"""What a data set is, without decoding it: for plans that are made before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from vbs.accuracy import guessing

if TYPE_CHECKING:
    from train.images import Store


@dataclass(frozen=True)
class Survey:
    """A data set at a glance.

    classes         their names.
    train, minival  images that `train.data.load` would train on, and hold out.
    side            the longer side in pixels that the first images share; None where they differ.
    digests         of the listings by split, as in `Data.settings`.
    chance          what guessing gets on the minival, see `vbs.accuracy.guessing`; NaN without one.
    """

    classes: tuple[str, ...]
    train: int
    minival: int
    side: int | None
    digests: dict[str, str]
    chance: float = float("nan")


def survey(text: str, *, minival: float, seed: int = 0, root: str | Path | None = None) -> Survey:
    """The data set that `text` names, see `train.data.load`; ValueError likewise."""
    from train.sources import find, stratified

    found = find(text, seed=seed, root=root, download=True)
    count = len(found.train.rows)
    held = np.empty(0, np.int64)  # the labels of the minival
    if minival and found.val is not None:
        held = found.val.labels
    elif minival:
        held = found.train.labels[stratified(found.train.labels, minival, seed)[1]]
        count -= len(held)
    digests = {name: each.digest() for name, each in found.listings().items() if each}
    return Survey(
        found.classes, count, len(held), _side(found.train.images, found.train.rows), digests,
        guessing(held, len(found.classes)),
    )  # fmt: skip


def _side(images: Store | Tensor, rows: np.ndarray) -> int | None:
    from train.images import Unreadable, decode

    if isinstance(images, Tensor):
        return max(images.shape[1:3])
    shapes = set()
    for row in rows[:16]:
        try:
            shapes.add(tuple(decode(images.read(int(row)), 3).shape[-2:]))
        except Unreadable:
            continue
    return max(shapes.pop()) if len(shapes) == 1 else None
