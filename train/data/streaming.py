"""Splits whose images are decoded when they are needed, in worker processes."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from train.data.augment import Augmentation, Preparation, frame, one_thread, recolour
from train.data.decode import Unreadable, decode
from train.data.in_memory import to_picture
from train.data.source import allowing
from train.data.split import ImageRequest, Split
from train.data.stores import Store
from vbs.failures import DataLost
from vbs.forking import loader_context
from vbs.sockets import short_folder_for_sockets
from vbs.text import shortened

PATIENCE = 100  # most unreadable files in a row to skip in search of the next readable one


class StreamSplit(Split):
    """A split of encoded images.

    store     store of the encoded images.
    targets   int64 [n] or float32 [n, classes].
    rows      row in the store of each target, int64 [n].
    channels  3 or 1.
    limit     largest share of unreadable files of the store.
    text      value of --data, for messages.

    An unreadable file and its target are replaced by the next readable one of the split, the same
    one in every process. The file is reported once, in a warning, and is listed in `unreadable`;
    batches raise DataLost if more than the share `limit` of the store is unreadable.
    """

    def __init__(
        self,
        store: Store,
        targets: Tensor,
        rows: np.ndarray,
        *,
        channels: int = 3,
        limit: float = 0.01,
        text: str = "",
    ) -> None:
        assert len(rows) == len(targets)
        self.store, self.targets, self.rows = store, targets, rows
        self.channels, self.limit, self.text = channels, limit, text
        self._bad: set[int] = set()  # rows of the store, shared by selections

    @property
    def unreadable(self) -> tuple[str, ...]:
        """See `Split.unreadable`."""
        return tuple(self.store.name(row) for row in sorted(self._bad & set(self.rows.tolist())))

    def pictures(
        self,
        requests: Sequence[ImageRequest],
        how: Augmentation | Preparation,
        *,
        device: torch.device,
        workers: int,
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """See `Split.pictures`."""
        dataset = _Batches(self.store, self.rows, self.channels, requests, how)
        batches = loaded(dataset, len(requests), device=device, workers=workers)
        for request, (images, used) in zip(requests, batches, strict=True):
            self._note(request.indices, used.numpy())
            self._refuse_too_many(request.indices, used.numpy())
            yield images.to(device, non_blocking=True), used.numpy()

    def _note(self, requested: np.ndarray, used: np.ndarray) -> None:
        """Warn of newly found unreadable files here, because workers cannot report them."""
        new = {int(row) for row in self.rows[requested[requested != used]]} - self._bad
        self._bad |= new
        for row in sorted(new):
            message = f"{self._described(row)} is unreadable; the next image replaces it"
            warnings.warn(message, stacklevel=4)

    def _described(self, row: int) -> str:
        """Return a file's name with the reason why it is unreadable."""
        name = shortened(self.store.name(row))
        try:
            decode(self.store.read(row), self.channels)
        except Unreadable as error:
            return f"{name} ({error})"
        return name

    def _refuse_too_many(self, requested: np.ndarray, used: np.ndarray) -> None:
        replaced, lost = bool((requested != used).any()), bool((used < 0).any())
        if lost or (replaced and len(self._bad) > self.limit * len(self.store)):
            names = ", ".join(self._described(row) for row in sorted(self._bad)[:3])
            raise DataLost(
                f"data: {len(self._bad)} of {len(self.store)} images are unreadable, more than a "
                f"share of {self.limit:g} (corrupt_limit): {names}"
                f"{allowing(self.text, len(self._bad) / len(self.store))}"
            )

    def select(self, indices: Any) -> StreamSplit:
        """See `Split.select`."""
        chosen = np.asarray(indices, np.int64)
        targets = self.targets[torch.from_numpy(chosen)]
        options = {"channels": self.channels, "limit": self.limit, "text": self.text}
        other = StreamSplit(self.store, targets, self.rows[chosen], **options)  # type: ignore[arg-type]
        other._bad = self._bad
        return other

    def name(self, index: int) -> str:
        """See `Split.name`."""
        return self.store.name(int(self.rows[index]))

    def picture(self, index: int, size: int | None = None) -> np.ndarray:
        """See `Split.picture`; returns the image that replaces it in batches, or black."""
        image, used = _readable(self.store, self.rows, self.channels, index)
        self._note(np.array([index]), np.array([used]))
        return to_picture(image, size)


class _Batches(Dataset):
    """Whole batches by number: uint8 [n, c, size, size] and the indices [n] that were read."""

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        channels: int,
        requests: Sequence[ImageRequest],
        how: Augmentation | Preparation,
    ) -> None:
        self.store, self.rows, self.channels = store, rows, channels
        self.requests, self.how = requests, how

    def __len__(self) -> int:
        return len(self.requests)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        request = self.requests[number]
        size = self.how.size
        images = torch.empty((len(request.indices), self.channels, size, size), dtype=torch.uint8)
        used = np.empty(len(request.indices), np.int64)
        with one_thread():
            for place, index in enumerate(request.indices):
                image, used[place] = _readable(self.store, self.rows, self.channels, int(index))
                draws = request.draws.part(slice(place, place + 1))
                images[place] = frame(image[None], self.how, draws)[0]
            return recolour(images, self.how, request.draws), torch.from_numpy(used)


def _readable(store: Store, rows: np.ndarray, channels: int, index: int) -> tuple[Tensor, int]:
    """Return the image of an index, or the next readable one; a blank and -1 if there is none."""
    for distance in range(min(PATIENCE, len(rows))):
        candidate = (index + distance) % len(rows)
        try:
            return decode(store.read(int(rows[candidate])), channels), candidate
        except Unreadable:
            continue
    # an exception would reach the caller wrapped in the worker's traceback
    return torch.zeros((channels, 1, 1), dtype=torch.uint8), -1


def loaded(dataset: Dataset, count: int, *, device: torch.device, workers: int) -> Iterator[Any]:
    """Return an iterator over the first `count` items of a data set, in order; items are batches.

    workers  processes that load items ahead; 0: this process loads each when it is needed.

    The processes start in this call, with the platform's start method. If that is fork, Python 3.12
    and newer warn of threads that other packages keep. This is harmless: workers take no locks of
    these threads, because they only read at offsets, from files that they open, and decode.
    """
    if workers:
        short_folder_for_sockets()
    loader: DataLoader = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(count),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # does not change the caller's generator
        collate_fn=_as_it_is,
        worker_init_fn=_begin if workers else None,
        multiprocessing_context=loader_context() if workers else None,
    )
    if multiprocessing.get_start_method() == "forkserver":
        # the server imports torch once, so that each of its forks starts quickly
        multiprocessing.set_forkserver_preload(["train.data.streaming"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
        return iter(loader)


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin(worker: int) -> None:
    torch.set_num_threads(1)
