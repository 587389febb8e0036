"""From listings to splits: images of one size in memory, others streamed; unreadable ones named."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from train.data.decode import OtherSize, Unreadable, decode, size_of
from train.data.in_memory import MemorySplit, Pixels
from train.data.listing import Listing
from train.data.source import allowing
from train.data.split import Split
from train.data.stores import Store
from train.data.streaming import StreamSplit
from vbs.processes import available_cpus
from vbs.text import shortened

CHECKED_HEADERS = 200_000  # streamed files up to which every header is looked at beforehand
LOOK = 32  # images whose sizes decide whether memory is tried
_THREADS = min(8, available_cpus())
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the images of a data set are fetched and read.

    channels       3, or 1 for grey.
    memory_limit   bytes. Images of one size that fit are kept in memory, others are streamed.
    corrupt_limit  largest share of unreadable files, which are skipped and named; an option of the
                   data's text goes before it.
    download       whether a named set that is not there is downloaded.

    Raises ValueError for other channels.
    """

    channels: int = 3
    memory_limit: int = 2 * 1024**3
    corrupt_limit: float = 0.01
    download: bool = True

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels: {self.channels!r} is not allowed; use 3, or 1 for grey")


DEFAULT = Reading()


def read(listing: Listing, reading: Reading, text: str = "") -> tuple[Split, list[str]]:
    """The split of a listing, and the names of the unreadable files that it goes without.

    In memory where all images have one size and fit the memory limit, streamed otherwise. The
    sizes that the first few state decide whether that is tried. No more than one image a thread is
    decoded at once, and none of another size. Raises ValueError where more than the allowed share
    is unreadable, saying how to allow more where `text` is what --data names.
    """
    channels, limit = reading.channels, reading.corrupt_limit
    if isinstance(listing.images, Tensor):
        return _from_pixels(listing, channels), []
    store, rows = listing.images, listing.rows
    side = common_side(store, rows, LOOK)
    pixels: Tensor | None = None
    bad: dict[int, str] | None = None
    if side and len(rows) * channels * side[0] * side[1] <= reading.memory_limit:
        pixels, bad = _decoded(store, rows, (channels, *side))
    if bad is None:
        bad = _bad_headers(store, rows)
        _refuse_undecodable(store, rows, channels, limit)
    names = [f"{shortened(store.name(int(rows[index])))} ({why})" for index, why in bad.items()]
    if len(bad) > limit * len(rows):
        raise ValueError(
            f"data: {len(bad)} of {len(rows)} images are unreadable, more than a share of "
            f"{limit:g} (corrupt_limit): {', '.join(names[:3])}"
            f"{allowing(text, len(bad) / len(rows))}"
        )
    good = np.setdiff1d(np.arange(len(rows)), list(bad))
    targets = torch.from_numpy(listing.labels[good])
    if pixels is None:
        streamed = StreamSplit(
            store, targets, rows[good], channels=channels, limit=limit, text=text
        )
        return streamed, names
    named = Pixels(pixels, (store, rows))
    return MemorySplit(named, targets, None if not bad else good), names


def common_side(store: Store, rows: np.ndarray, count: int) -> tuple[int, int] | None:
    """Height and width that the first `count` readable images state; None where they differ."""
    sizes = set(filter(None, _mapped(lambda row: _size(store, row), rows[:count])))
    return sizes.pop() if len(sizes) == 1 else None


def _from_pixels(listing: Listing, channels: int) -> MemorySplit:
    from torchvision.transforms.v2 import functional as F

    images = listing.images
    assert isinstance(images, Tensor)
    if images.ndim == 3:
        images = images[:, None].expand(-1, channels, -1, -1)  # grey repeated takes no memory
    else:
        images = images.permute(0, 3, 1, 2).contiguous()
        if channels == 1:
            images = F.rgb_to_grayscale_image(images, 1)
    return MemorySplit(images, torch.from_numpy(listing.labels), listing.rows)


def _mapped(work: Callable[[int], Value], rows: np.ndarray) -> Iterator[Value]:
    """What `work` gives for each row, in order; PIL decodes outside of Python's lock."""

    def some(start: int) -> list[Value]:
        return [work(row) for row in rows[start : start + LOOK].tolist()]

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(rows), 1024):
            stop = min(start + 1024, len(rows))
            yield from itertools.chain(*pool.map(some, range(start, stop, LOOK)))


def _size(store: Store, row: int) -> tuple[int, int] | None:
    """Height and width that the image states; None where it is unreadable."""
    try:
        with store.open(row) as file:
            return size_of(file)
    except Unreadable:
        return None


def _decoded(
    store: Store, rows: np.ndarray, shape: tuple[int, int, int]
) -> tuple[Tensor | None, dict[int, str] | None]:
    """uint8 [n, c, h, w] and those unreadable, black; two times None where sizes differ."""
    pixels = torch.zeros((len(rows), *shape), dtype=torch.uint8)

    def place(index: int) -> str | None:
        """Why the image cannot be read, "" where it has another size."""
        try:
            image = decode(store.read(int(rows[index])), shape[0], sides=shape[1:])
        except OtherSize:
            return ""
        except Unreadable as error:
            return str(error)
        if image.shape != shape:
            return ""
        pixels[index] = image
        return None

    bad: dict[int, str] = {}
    for index, why in enumerate(_mapped(place, np.arange(len(rows)))):
        if why == "":
            return None, None
        if why is not None:
            bad[index] = why
    return pixels, bad


def _refuse_undecodable(store: Store, rows: np.ndarray, channels: int, limit: float) -> None:
    """ValueError where none of the first images can be decoded, though headers may be sound."""
    why = ""
    for row in rows[:LOOK].tolist():
        try:
            decode(store.read(row), channels)
        except Unreadable as error:
            why = why or f"{shortened(store.name(row))} ({error})"
        else:
            return
    if limit < 1:
        count = len(rows[:LOOK])
        raise ValueError(f"data: none of the first {count} images can be decoded, as {why}")


def _bad_headers(store: Store, rows: np.ndarray) -> dict[int, str]:
    """Files whose start shows that they are no images, by their place in `rows`."""
    if len(rows) > CHECKED_HEADERS:
        return {}  # an hour on a slow disk; StreamSplit copes with them as it meets them

    def check(row: int) -> str | None:
        try:
            with store.open(row) as file:
                size_of(file)
        except Unreadable as error:
            return str(error)
        return None

    reasons = enumerate(_mapped(check, rows))
    return {index: why for index, why in reasons if why is not None}
