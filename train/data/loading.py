"""Loading of data sets: find the images, split them, keep them in memory or stream them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from train.data.find import find, find_unlabelled, unlabelled_source
from train.data.listing import Found, held_out
from train.data.reading import DEFAULT, Reading, read
from train.data.source import Source, parse
from train.data.split import Split


@dataclass(frozen=True)
class Data:
    """A data set to train on.

    minival   held out of the training images to choose weights; None if not requested.
    settings  plain data for records: source, splitting, numbers of images, digests.
    skipped   names of the unreadable files.
    notes     lines about unused parts of the source and about choices that were made.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    minival: Split | None
    test: Split | None
    settings: dict[str, Any]
    skipped: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def digests(self) -> Mapping[str, str] | None:
        """Digests of the files of each split, by name; None if they are unknown."""
        return self.settings.get("digests")


def load(
    text: str,
    *,
    minival: float = 0.1,
    seed: int = 0,
    root: str | Path | None = None,
    test: bool = True,
    reading: Reading = DEFAULT,
) -> Data:
    """Load the data set that `text` names.

    text     cifar10, cifar100, fashion-mnist, imagenet (torchvision's, stored under `root`);
             imagefolder:DIR, parquet:DIR or FILE.zip, see `train.data.find`. Options follow a
             question mark, e.g. imagefolder:DIR?corrupt_limit=0.05, see `train.data.source`.
    minival  share of the training images that is held out, of each class; 0: none. If train, val
             and test all exist, val is the minival instead.
    seed     of all splitting; equal seeds hold out the same images.
    root     folder of named sets; None: $VBS_DATA or ~/.cache/vision-baseline-search/data.
    test     whether the test images are needed; loading is faster without them.
    reading  how images are read.

    Raises ValueError (one line) for an invalid text, argument or file.
    """
    reading = _of_source(reading, parse(text))
    _check_split(minival, seed)
    found = find(text, seed=seed, root=root, download=reading.download)
    splits, skipped = _read(found if test else replace(found, test=None), reading, text)
    how = found.how
    train, held = splits["train"], splits.get("val") if minival else None
    if minival and held is None:
        kept, taken = held_out(train.targets.numpy(), minival, seed, found.classes)
        train, held = train.select(kept), train.select(taken)
        how += f"; minival: a share of {minival:g} of each class of train, seed {seed}"
    tested = splits.get("test")
    settings = _settings(text, how, found.classes, train, held, tested)
    settings |= {"seed": seed, "minival": minival}
    settings |= {"channels": reading.channels, "skipped": len(skipped)}
    settings["digests"] = {
        name: listing.digest() for name, listing in found.listings().items() if listing
    }
    return Data(text, found.classes, train, held, tested, settings, tuple(skipped), found.notes)


def load_unlabelled(
    text: str, *, root: str | Path | None = None, reading: Reading = DEFAULT
) -> Split:
    """Load images without labels; every target is UNLABELLED until `with_targets`.

    text  a folder (images at any depth), a FILE.zip, parquet:DIR (all its files), or a named set
          (its training images). Other arguments as in `load`.
    """
    source = unlabelled_source(text)
    reading = _of_source(reading, source)
    listing = find_unlabelled(text, root=root, download=reading.download)
    return read(listing, reading, str(source))[0]


def _of_source(reading: Reading, source: Source) -> Reading:
    """Return the settings with the options of the data's text applied."""
    return replace(reading, corrupt_limit=source.corrupt_limit(reading.corrupt_limit))


def _read(found: Found, reading: Reading, text: str) -> tuple[dict[str, Split], list[str]]:
    """Return the splits by name, and the names of unreadable files."""
    splits: dict[str, Split] = {}
    skipped: list[str] = []
    for name, listing in found.listings().items():
        if listing is not None:
            split, bad = read(listing, reading, text)
            left = reading.memory_limit - getattr(split, "nbytes", 0)
            reading = replace(reading, memory_limit=left)
            splits[name] = split
            skipped += bad
    return splits, skipped


def _check_split(minival: float, seed: int) -> None:
    if not 0 <= minival < 1:
        raise ValueError(f"minival: {minival!r} is not allowed; use a share from 0 to below 1")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: {seed!r} is not allowed; use an integer of at least 0")


def _settings(
    text: str,
    how: str,
    classes: tuple[str, ...],
    train: Split,
    minival: Split | None,
    test: Split | None,
) -> dict[str, Any]:
    settings: dict[str, Any] = {"source": text, "split": how, "classes": len(classes)}
    for name, split in (("train", train), ("minival", minival), ("test", test)):
        if split is not None:
            counts = torch.bincount(split.targets, minlength=len(classes))
            lacking = [classes[index] for index in torch.nonzero(counts == 0).flatten().tolist()]
            settings[f"{name}_images"] = len(split)
            settings[f"{name}_stored"] = type(split).__name__
            if lacking:
                settings[f"{name}_lacks"] = lacking
    return settings
