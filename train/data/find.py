"""Search for data sets on disk: named sets, image folders, zip archives, parquet files.

imagefolder:DIR  Folders of splits and classes, see `train.data.layout`: train with val, test, or
                 both. If there is no other split, a seeded, stratified fifth becomes the test
                 split. The prefix may be omitted, see `train.data.source`.
FILE.zip         The same layout inside an archive, which is never extracted.
parquet:DIR      Hugging Face's layout, see `train.data.parquet`.
named sets       torchvision's own classes, in their own layout under the root.

Each takes options after a question mark, see `train.data.source`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.data import folders, parquet, torchvision_sets
from train.data.formats import EXTENSIONS
from train.data.listing import Found, Listing
from train.data.source import (
    ARCHIVE,
    FOLDER,
    NAMED,
    NAMED_SETS,
    PARQUET,
    Source,
    known_source,
    parse,
)
from train.data.split import UNLABELLED
from train.data.stores import Store
from vbs.text import shortened


def find(text: str, *, seed: int, root: str | Path | None, download: bool) -> Found:
    """Return the data set that a text names; raise ValueError if there is none."""
    source = known_source(text)
    if source.kind == NAMED:
        return torchvision_sets.find(source.place, root=root, download=download)
    if source.kind == PARQUET:
        return parquet.find(source, seed)
    return folders.find(source, seed)


def unlabelled_source(text: str) -> Source:
    """Return the source of unlabelled images; texts of an unknown kind are folders."""
    source = parse(text)
    if source.kind == NAMED and source.place not in NAMED_SETS:
        return Source(FOLDER, source.place, source.options)
    return source


def find_unlabelled(text: str, *, root: str | Path | None, download: bool) -> Listing:
    """Return all images that a text names, without labels; raise ValueError if there are none."""
    source = unlabelled_source(text)
    if source.kind == NAMED:
        listing = torchvision_sets.find(source.place, root=root, download=download).train
        return Listing(listing.images, np.full(len(listing.rows), UNLABELLED), listing.rows)
    if source.kind == PARQUET:
        store: Store = parquet.everything(source)
    else:
        files = folders.files_of(source)
        if not files.images:
            kind = "the archive " if source.kind == ARCHIVE else ""
            raise ValueError(
                f"data: {kind}{shortened(source.place)} holds no images ({', '.join(EXTENSIONS)})"
            )
        store = files.store(sorted(files.images))
    return Listing(store, np.full(len(store), UNLABELLED), np.arange(len(store)))
