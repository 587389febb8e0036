"""Conversion of listings to splits, in memory or streamed; unreadable images are reported."""

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

CHECKED_HEADERS = 200_000  # largest number of streamed files whose headers are all checked first
LOOK = 32  # number of images whose sizes decide whether decoding into memory is tried
_THREADS = min(8, available_cpus())
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Settings of how the images of a data set are read.

    channels       3, or 1 for grey.
    memory_limit   bytes. Images of one size that fit are kept in memory; others are streamed.
    corrupt_limit  largest share of unreadable files, which are skipped and reported; an option in
                   the data's text takes precedence.
    download       whether a missing named set is downloaded.

    Raises ValueError for other numbers of channels.
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
    """Return the split of a listing, and the names of its unreadable files, which are left out.

    The split is in memory if all images have one size and fit the memory limit, otherwise streamed.
    The sizes of the first images decide whether memory is tried. Each thread decodes one image at a
    time, and only images of that size. Raises ValueError if more than the allowed share is
    unreadable; the message shows how to allow more if `text` is the value of --data.
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
    """Return height and width of the first `count` readable images; None if they differ."""
    sizes = set(filter(None, _mapped(lambda row: _size(store, row), rows[:count])))
    return sizes.pop() if len(sizes) == 1 else None


def _from_pixels(listing: Listing, channels: int) -> MemorySplit:
    from torchvision.transforms.v2 import functional as F

    images = listing.images
    assert isinstance(images, Tensor)
    if images.ndim == 3:
        images = images[:, None].expand(-1, channels, -1, -1)  # repeats grey without copying
    else:
        images = images.permute(0, 3, 1, 2).contiguous()
        if channels == 1:
            images = F.rgb_to_grayscale_image(images, 1)
    return MemorySplit(images, torch.from_numpy(listing.labels), listing.rows)


def _mapped(work: Callable[[int], Value], rows: np.ndarray) -> Iterator[Value]:
    """Yield `work` of each row, in order; threads help because PIL releases Python's lock."""

    def some(start: int) -> list[Value]:
        return [work(row) for row in rows[start : start + LOOK].tolist()]

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(rows), 1024):
            stop = min(start + 1024, len(rows))
            yield from itertools.chain(*pool.map(some, range(start, stop, LOOK)))


def _size(store: Store, row: int) -> tuple[int, int] | None:
    """Return height and width that the image states; None if it is unreadable."""
    try:
        with store.open(row) as file:
            return size_of(file)
    except Unreadable:
        return None


def _decoded(
    store: Store, rows: np.ndarray, shape: tuple[int, int, int]
) -> tuple[Tensor | None, dict[int, str] | None]:
    """Return uint8 [n, c, h, w] and errors of unreadable (black) images; None if sizes differ."""
    pixels = torch.zeros((len(rows), *shape), dtype=torch.uint8)

    def place(index: int) -> str | None:
        """Return why the image is unreadable, "" if its size differs, None if it is decoded."""
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
    """Raise ValueError if none of the first images can be decoded, even with valid headers."""
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
        raise ValueError(f"data: none of the first {count} images can be decoded, e.g. {why}")


def _bad_headers(store: Store, rows: np.ndarray) -> dict[int, str]:
    """Return the files whose start shows that they are no images, by index in `rows`."""
    if len(rows) > CHECKED_HEADERS:
        return {}  # would take an hour on a slow disk; StreamSplit handles them during training

    def check(row: int) -> str | None:
        try:
            with store.open(row) as file:
                size_of(file)
        except Unreadable as error:
            return str(error)
        return None

    reasons = enumerate(_mapped(check, rows))
    return {index: why for index, why in reasons if why is not None}
