"""Images and labels of the splits of a data set, and seeded, stratified splitting."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from train.data.stores import Store
from vbs.text import quoted

TEST_SHARE = 0.2
LISTED = 5  # largest number of classes in a message


@dataclass(frozen=True)
class Listing:
    """The images of a split: encoded in a store, or decoded as uint8 [m, h, w] or [m, h, w, 3].

    labels  int64 [n].
    rows    row of each image in `images`, int64 [n].
    """

    images: Store | Tensor
    labels: np.ndarray
    rows: np.ndarray

    def digest(self) -> str:
        """Return 16 hex digits of a hash of the labels and the names or pixels."""
        state = hashlib.sha256(self.labels.tobytes())
        if isinstance(self.images, Tensor):
            state.update(self.images.numpy().tobytes())
        else:
            for row in self.rows:
                name = self.images.name(int(row)).rpartition("/")[2]
                state.update(name.encode(errors="replace"))
        return state.hexdigest()[:16]

    def select(self, chosen: np.ndarray) -> Listing:
        """Return the images of some indices, int64 [m], or of a mask, bool [n]."""
        return Listing(self.images, self.labels[chosen], self.rows[chosen])


@dataclass(frozen=True)
class Found:
    """A data set on disk.

    how    description of how it is split.
    notes  lines about unused parts and about choices that were made.
    """

    classes: tuple[str, ...]
    train: Listing
    val: Listing | None
    test: Listing | None
    how: str
    notes: tuple[str, ...] = ()

    def listings(self) -> dict[str, Listing | None]:
        """Return the splits by name: "train", "val" and "test"; None for a missing one."""
        return {"train": self.train, "val": self.val, "test": self.test}


def found(
    classes: tuple[str, ...],
    train: Listing,
    val: Listing | None,
    test: Listing | None,
    seed: int,
) -> Found:
    """Return the data set of the given splits; a single split besides train is the test split.

    If there is only train, a seeded stratified share of it becomes the test split.
    """
    if val is not None and test is not None:
        return Found(classes, train, val, test, "train, val and test as given; minival: val")
    if val is not None or test is not None:
        how = "train and test as given" if test else "train as given; test: val as given"
        return Found(classes, train, None, test or val, how)
    kept, tested = stratified(train.labels, TEST_SHARE, seed)
    least = enough(TEST_SHARE)
    if not len(tested):
        raise ValueError(
            f"data: {len(train.labels)} images are too few to split into two: a test split with a "
            f"share of {TEST_SHARE:g} needs a class with {least} images or more, and there are "
            f"{counted(train.labels, classes)}; add images, or give a folder train and a folder "
            "test"
        )
    how = f"one split; test: a share of {TEST_SHARE:g} of each class, seed {seed}"
    counts = np.bincount(train.labels, minlength=len(classes))
    notes = []
    if 0 < counts.min() < least:
        few = np.isin(train.labels, np.flatnonzero(counts < least))
        notes.append(
            f"the test split has no image of classes with fewer than {least}: "
            f"{counted(train.labels[few], classes)}"
        )
    return Found(classes, train.select(kept), None, train.select(tested), how, tuple(notes))


def enough(share: float) -> int:
    """Return the number of images that a class needs for `stratified` to take one of them."""
    return next((count for count in range(2, 10_000) if int(share * count + 0.5)), 10_000)


def counted(labels: np.ndarray, classes: Sequence[str]) -> str:
    """Describe the number of images of each class present, the smallest first."""
    numbers, counts = np.unique(labels, return_counts=True)
    order = np.lexsort((numbers, counts))
    parts = [f"{counts[at]} of {quoted(classes[numbers[at]], 60)}" for at in order[:LISTED]]
    more = f" and {len(order) - LISTED} more classes" if len(order) > LISTED else ""
    return ", ".join(parts) + more


def stratified(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices that stay and those that are taken, ascending.

    A random share of each class is taken, rounded; at least one image of each class stays.
    """
    rng = np.random.default_rng([seed, len(labels)])
    taken = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(int(share * len(members) + 0.5), len(members) - 1)
        taken.append(rng.permutation(members)[:count])
    chosen = np.sort(np.concatenate(taken))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def held_out(
    labels: np.ndarray, share: float, seed: int, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Split off a minival by `stratified`; raise ValueError if it would be empty."""
    kept, held = stratified(labels, share, seed)
    if not len(held):
        most = int(np.unique(labels, return_counts=True)[1].max())
        usable = min(0.5, math.ceil(50 / most) / 100)
        remedy = f"use e.g. {usable:g}" if most > 1 else "add images"
        raise ValueError(
            f"minival: {share:g} of {len(labels)} images takes no image of any class (a class "
            f"needs {enough(share)}), and there are {counted(labels, classes)}; {remedy} "
            "(--set minival=...)"
        )
    return kept, held
