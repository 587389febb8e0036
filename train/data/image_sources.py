"""Images from any source: files, folders, zip archives and parquet files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from train.data import parquet
from train.data.columns import choose
from train.data.files import folder_files, zip_files
from train.data.formats import EXTENSIONS
from train.data.source import FOLDER, PARQUET, Source, image_source
from train.data.stores import FileStore, ParquetStore, Store
from vbs.text import shortened


@dataclass(frozen=True)
class Images:
    """Encoded images in the order of their sources, then of their names.

    notes  lines about images of the sources that are not read.
    """

    store: Store
    notes: tuple[str, ...] = ()


class JoinedStore(Store):
    """The images of several stores, one after another."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = list(stores)
        self.starts = np.cumsum([0, *map(len, self.stores)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, row: int) -> str:
        store, own = self._of(row)
        return store.name(own)

    def read(self, row: int) -> bytes:
        store, own = self._of(row)
        return store.read(own)

    def open(self, row: int) -> BinaryIO:
        store, own = self._of(row)
        return store.open(own)

    def files(self) -> Iterable[str]:
        return itertools.chain.from_iterable(store.files() for store in self.stores)

    def _of(self, row: int) -> tuple[Store, int]:
        at = int(np.searchsorted(self.starts, row, "right")) - 1
        return self.stores[at], row - int(self.starts[at])


def open_images(texts: Sequence[str]) -> Images:
    """Return the images of all sources; nothing is decoded or extracted.

    texts  sources: an image file, a folder (images at any depth, or else parquet files), a
           FILE.zip, a FILE.parquet, or imagefolder:DIR and parquet:DIR as in `--data`. The image
           column of a parquet file is chosen by FILE.parquet?image=NAME.

    Raises ValueError for a source that does not exist or has no images.
    """
    stores: list[Store] = []
    notes: list[str] = []
    files: list[str] = []
    for text in texts:
        source = image_source(text)
        if source.kind == FOLDER and os.path.isfile(source.place):
            files.append(source.place)
            continue
        if files:  # consecutive files, e.g. of a shell's *.jpg, become one store
            stores.append(FileStore(files))
            files = []
        store, more = _opened(source)
        stores.append(store)
        notes += more
    if files:
        stores.append(FileStore(files))
    store = stores[0] if len(stores) == 1 else JoinedStore(stores)
    return Images(store, tuple(dict.fromkeys(notes)))


def _opened(source: Source) -> tuple[Store, list[str]]:
    if source.kind == PARQUET and not os.path.isdir(source.place):
        if not os.path.isfile(source.place):
            raise ValueError(f"images: {shortened(source.place)} does not exist")
        path = Path(source.place)
        return ParquetStore([path], choose(path, source, labelled=False).image), []
    if source.kind == PARQUET:
        return parquet.everything(source), []
    if not os.path.exists(source.place):
        raise ValueError(f"images: {shortened(source.place)} does not exist")
    files = folder_files(source.place) if source.kind == FOLDER else zip_files(source.place)
    if not files.images and source.kind == FOLDER and parquet.has_files(source.place):
        return parquet.everything(Source(PARQUET, source.place, source.options)), []
    if not files.images:
        others = "".join(f"; {note}" for note in files.notes())
        raise ValueError(
            f"images: {shortened(source.place)} holds no images ({', '.join(EXTENSIONS)}){others}"
        )
    return files.store(sorted(files.images)), files.notes()
