"""Batches of prepared images, and the files that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from train.data.augment import one_thread
from train.data.decode import Unreadable, decode
from train.data.stores import Store
from train.data.streaming import loaded
from train.preprocessing import Preprocessing, framed, normalised


class Batch(NamedTuple):
    """Prepared images.

    rows        rows of the images in the store, int64 [n].
    images      float32 [n, channels, side, side] in channels_last; n may be 0.
    unreadable  (row, why) of the images that are left out.
    """

    rows: Tensor
    images: Tensor
    unreadable: list[tuple[int, str]]


def batches(
    store: Store, how: Preprocessing, size: int, *, device: torch.device, loaders: int
) -> Iterator[Batch]:
    """Return an iterator over all images of a store in order, in batches of `size`.

    device   device that will compute the images; they stay on the CPU, in pinned memory for a GPU.
    loaders  processes that prepare batches ahead; 0: this process prepares each batch when it is
             needed.
    """
    prepared = _Prepared(store, how, size)
    # for one or two batches, starting a process would take longer than its work
    workers = min(loaders, len(prepared) - 1)
    return loaded(prepared, len(prepared), device=device, workers=workers)


class _Prepared(Dataset):
    """Whole batches by number."""

    def __init__(self, store: Store, how: Preprocessing, size: int) -> None:
        self.store, self.how, self.size = store, how, size

    def __len__(self) -> int:
        return -(-len(self.store) // self.size)

    def __getitem__(self, number: int) -> Batch:
        first = number * self.size
        rows = np.arange(first, min(first + self.size, len(self.store)))
        side, channels = self.how.resolution, self.how.channels
        images = torch.empty((len(rows), channels, side, side), dtype=torch.uint8)
        read: list[int] = []
        unreadable: list[tuple[int, str]] = []
        with one_thread():
            for row in rows.tolist():
                try:
                    pixels = decode(self.store.read(row), channels)
                except Unreadable as error:
                    unreadable.append((row, str(error)))
                    continue
                images[len(read)] = framed(pixels[None], self.how)[0]
                read.append(row)
            prepared = normalised(images[: len(read)], self.how)
        return Batch(torch.tensor(read, dtype=torch.int64), prepared, unreadable)
