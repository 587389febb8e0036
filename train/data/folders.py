"""Data sets of image files in folders of splits and classes, on disk or in a zip archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from train.data.files import Files, Path, folder_files, zip_files
from train.data.formats import EXTENSIONS
from train.data.layout import Layout, layout_notes, layout_of
from train.data.listing import Found, Listing, found
from train.data.source import ARCHIVE, Source
from vbs.text import counted, quoted, shortened


def files_of(source: Source) -> Files:
    """Return the images of a folder or an archive; raise ValueError if it cannot be read."""
    return zip_files(source.place) if source.kind == ARCHIVE else folder_files(source.place)


def find(source: Source, seed: int) -> Found:
    """Return the data set of a folder or an archive; raise ValueError if there is none."""
    files = files_of(source)
    layout = layout_of(files, source)
    classes = sorted(layout.places["train"])
    where = _where(files, layout.places["train"])
    if len(classes) < 2:
        raise ValueError(
            f"data: {where} holds {counted(len(classes), 'class folder')}; use one folder of "
            "images for each of two classes or more"
        )
    train = _listing(files, layout.places["train"], classes, where)
    counts = np.bincount(train.labels, minlength=len(classes))
    if not counts.all():
        empty = shortened("/".join((files.place, *layout.places["train"][_first(classes, counts)])))
        raise ValueError(f"data: class folder {empty} holds no images; fill or remove it")
    others: dict[str, Listing] = {}
    for split, places in layout.places.items():
        if split != "train":
            others[split] = _listing(files, places, classes, _where(files, places, split))
    whole = found(tuple(classes), train, others.get("val"), others.get("test"), seed)
    return _described(whole, files, layout)


def _first(classes: list[str], counts: np.ndarray) -> str:
    return classes[int(np.argmin(counts))]


def _described(whole: Found, files: Files, layout: Layout) -> Found:
    how = whole.how + (f"; {layout.words}" if layout.words else "")
    notes = (*layout_notes(files, layout), *whole.notes)
    return replace(whole, how=how, notes=notes)


def _where(files: Files, places: Mapping[str, Path], split: str = "train") -> str:
    """Return the name of a split's folder for messages."""
    parents = {path[:-1] for path in places.values()}
    if len(parents) == 1:
        return shortened("/".join((files.place, *parents.pop())))
    return shortened(files.place) + (f" ({split})" if parents else "")


def _listing(files: Files, places: Mapping[str, Path], classes: list[str], where: str) -> Listing:
    """Return the images below the class folders, sorted by class and name, as in torchvision."""
    labels = {name: label for label, name in enumerate(classes)}
    owners = {path: name for name, path in places.items()}
    depths = sorted({len(path) for path in owners})
    held: list[tuple[int, Path]] = []
    strange: set[str] = set()
    for path in files.images:
        owner = next((owners[path[:d]] for d in depths if path[:d] in owners), None)
        if owner is not None and owner in labels:
            held.append((labels[owner], path))
        elif owner is not None:
            strange.add(owner)
    if strange:
        raise ValueError(
            f"data: {where} has the class {quoted(min(strange))}, which train does not have"
        )
    if not held:
        raise ValueError(f"data: {where} holds no images ({', '.join(EXTENSIONS)})")
    held.sort()
    store = files.store([path for _, path in held])
    numbers = np.array([label for label, _ in held], np.int64)
    return Listing(store, numbers, np.arange(len(held)))
