"""Where data sets are found on disk: named sets, image folders, zip archives, parquet files.

imagefolder:DIR  DIR/<split>/<class>/**: train with val (valid, validation), test, or both. Or
                 DIR/<class>/** or train alone: a seeded, stratified fifth becomes the test split.
                 Symbolic links are followed, as people link their data together, but not in
                 circles; what is not a regular file is passed over.
FILE.zip         the same inside an archive, read from it and never extracted; a single folder at
                 the top is entered. Names that would leave the archive are refused.
parquet:DIR      Hugging Face's layout: train*.parquet and test*.parquet (or val*), in DIR or
                 DIR/data, an image column (struct of bytes and path) and a label column.
named sets       torchvision's own classes, in their own layout under the root.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from train.data import UNLABELLED, Split
from train.images import (
    EXTENSIONS,
    FileStore,
    Store,
    Unreadable,
    ZipStore,
    check_header,
    decode,
)
from train.memory import MemorySplit
from train.stream import StreamSplit
from vbs.processes import available_cpus

TEST_SHARE = 0.2
CHECKED_HEADERS = 200_000  # streamed files up to which every header is looked at beforehand
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """The images of a split: encoded in a store, or decoded as uint8 [m, h, w] or [m, h, w, 3].

    labels  int64 [n]; rows  which image of the store each one belongs to, int64 [n].
    """

    images: Store | Tensor
    labels: np.ndarray
    rows: np.ndarray

    def digest(self) -> str:
        """16 hex digits of the names or pixels and labels."""
        state = hashlib.sha256(self.labels.tobytes())
        if isinstance(self.images, Tensor):
            state.update(self.images.numpy().tobytes())
        else:
            for row in self.rows:
                name = self.images.name(int(row)).rpartition("/")[2]
                state.update(name.encode(errors="replace"))
        return state.hexdigest()[:16]

    def select(self, chosen: np.ndarray) -> Listing:
        return Listing(self.images, self.labels[chosen], self.rows[chosen])


@dataclass(frozen=True)
class Found:
    """A data set on disk; `how` says in words how it is split."""

    classes: tuple[str, ...]
    train: Listing
    val: Listing | None
    test: Listing | None
    how: str

    def listings(self) -> dict[str, Listing | None]:
        return {"train": self.train, "val": self.val, "test": self.test}


def find(text: str, *, seed: int, root: str | Path | None, download: bool) -> Found:
    """The data set that a text names; ValueError where there is none."""
    from train import named, parquet

    kind, _, rest = text.partition(":")
    if text in named.SETS:
        return named.find(text, root=root, download=download)
    if kind == "imagefolder" and rest:
        return _classified(_folder_files(rest), rest, seed)
    if kind == "parquet" and rest:
        return parquet.find(rest, seed)
    if text.lower().endswith(".zip"):
        return _classified(_zip_files(text), text, seed)
    raise ValueError(
        f"data: {text!r} is not known; use {', '.join(named.SETS)}, imagefolder:DIR, "
        "parquet:DIR or FILE.zip"
    )


def find_unlabelled(text: str, *, root: str | Path | None, download: bool) -> Listing:
    """All images that a text names, labels ignored; ValueError where there are none."""
    from train import named, parquet

    kind, _, rest = text.partition(":")
    if text in named.SETS:
        listing = named.find(text, root=root, download=download).train
        return Listing(listing.images, np.full(len(listing.rows), UNLABELLED), listing.rows)
    if kind == "parquet" and rest:
        store: Store = parquet.everything(rest)
    else:
        folder = rest if kind == "imagefolder" and rest else text
        files = _zip_files(folder) if folder.lower().endswith(".zip") else _folder_files(folder)
        if not files.names:
            raise ValueError(f"data: {folder} holds no images ({', '.join(EXTENSIONS)})")
        store = files.store(sorted(files.names))
    return Listing(store, np.full(len(store), UNLABELLED), np.arange(len(store)))


@dataclass(frozen=True)
class _Files:
    """Images by their path below a folder or in an archive, split at "/"; folders likewise."""

    source: str
    names: set[tuple[str, ...]]
    folders: set[tuple[str, ...]]
    archive: bool

    def store(self, names: Sequence[tuple[str, ...]]) -> Store:
        if self.archive:
            return ZipStore(self.source, ["/".join(name) for name in names])
        return FileStore([os.path.join(self.source, *name) for name in names])


def _folder_files(folder: str) -> _Files:
    if not os.path.isdir(folder):
        raise ValueError(f"data: {folder} is not a folder; use one that holds images")
    names: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    pending: list[tuple[tuple[str, ...], frozenset[tuple[int, int]]]] = [((), frozenset())]
    while pending:
        place, above = pending.pop()
        try:
            here = os.stat(os.path.join(folder, *place))
            identity = (here.st_dev, here.st_ino)
            if identity in above:
                continue  # a link to a folder it lies in
            with os.scandir(os.path.join(folder, *place)) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.add((*place, entry.name))
                        pending.append(((*place, entry.name), above | {identity}))
                    elif entry.name.lower().endswith(EXTENSIONS) and entry.is_file():
                        names.add((*place, entry.name))
        except OSError as error:
            raise ValueError(f"data: {error.filename} cannot be read ({error.strerror})") from None
    return _Files(folder, names, folders, archive=False)


def _zip_files(path: str) -> _Files:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"data: {path} cannot be read as a zip archive ({reason})") from None
    names: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for member in members:
        parts = tuple(part for part in member.split("/") if part)
        if member.startswith("/") or ".." in parts or "\\" in member:
            raise ValueError(f"data: {path} holds {member!r}; a name must stay in the archive")
        if "__MACOSX" in parts[:1] or any(part.startswith(".") for part in parts):
            continue
        depth = len(parts) if member.endswith("/") else len(parts) - 1
        folders.update(parts[:end] for end in range(1, depth + 1))
        if depth < len(parts) and member.lower().endswith(EXTENSIONS):
            if member != "/".join(parts):
                raise ValueError(f"data: {path} holds {member!r}; remove the empty parts of it")
            names.add(parts)
    return _Files(path, names, folders, archive=True)


def _classified(files: _Files, source: str, seed: int) -> Found:
    """A data set of files in folders of splits and classes."""
    top = _top(files) if files.archive else ()
    level = {name[len(top)] for name in files.folders if _below(name, top, 1)}
    splits = {_SPLITS[name.lower()]: name for name in sorted(level) if name.lower() in _SPLITS}
    if len(splits) < len([name for name in level if name.lower() in _SPLITS]):
        raise ValueError(f"data: {source} holds a split twice: {', '.join(sorted(level))}")
    if "train" not in splits:
        if splits and set(splits.values()) == level:
            raise ValueError(f"data: {source} holds {', '.join(sorted(level))} but no train")
        splits = {}
    place = (*top, splits["train"]) if splits else top
    classes = sorted(name[-1] for name in files.folders if _below(name, place, 1))
    where = "/".join((source, *place))
    if len(classes) < 2:
        raise ValueError(
            f"data: {where} holds {len(classes)} class folders; use one folder of images for each "
            "of two classes or more"
        )
    train = _listing(files, place, classes, where)
    counts = np.bincount(train.labels, minlength=len(classes))
    if not counts.all():
        empty = classes[int(np.argmin(counts))]
        raise ValueError(f"data: class folder {where}/{empty} holds no images; fill or remove it")
    others: dict[str, Listing | None] = {"val": None, "test": None}
    for name, folder in splits.items():
        if name != "train":
            inside = "/".join((source, *top, folder))
            others[name] = _listing(files, (*top, folder), classes, inside)
    return found(tuple(classes), train, others["val"], others["test"], seed)


def _below(name: tuple[str, ...], place: tuple[str, ...], depth: int) -> bool:
    return len(name) == len(place) + depth and name[: len(place)] == place


def _top(files: _Files) -> tuple[str, ...]:
    """The one folder that holds everything, or the one below, and so on."""
    top: tuple[str, ...] = ()
    while True:
        inside = [name for name in files.folders if _below(name, top, 1)]
        loose = any(_below(name, top, 1) for name in files.names)
        if len(inside) != 1 or loose or inside[0][-1].lower() in _SPLITS:
            return top
        top = inside[0]


def _listing(files: _Files, place: tuple[str, ...], classes: Sequence[str], where: str) -> Listing:
    """The images below `place`, in the order of classes and names, as torchvision has them."""
    depth = len(place)
    known = {name: label for label, name in enumerate(classes)}
    names = sorted(name for name in files.names if name[:depth] == place and len(name) > depth + 1)
    strange = sorted({name[depth] for name in names} - set(known))
    if strange:
        raise ValueError(f"data: {where} has the class {strange[0]!r}, which train does not have")
    if not names:
        raise ValueError(f"data: {where} holds no images ({', '.join(EXTENSIONS)})")
    labels = np.array([known[name[depth]] for name in names], np.int64)
    return Listing(files.store(names), labels, np.arange(len(names)))


def found(
    classes: tuple[str, ...],
    train: Listing,
    val: Listing | None,
    test: Listing | None,
    seed: int,
) -> Found:
    """The data set of the splits there are: one besides train is its test split, whatever its name.

    Where there is only one split, a seeded stratified share of it becomes the test split.
    """
    if val is not None and test is not None:
        return Found(classes, train, val, test, "train, val and test as given; minival: val")
    if val is not None or test is not None:
        how = "train and test as given" if test else "train as given; test: val as given"
        return Found(classes, train, None, test or val, how)
    kept, tested = stratified(train.labels, TEST_SHARE, seed)
    if not len(tested):
        raise ValueError(f"data: {len(train.labels)} images are too few to split into two")
    how = f"one split; test: a share of {TEST_SHARE:g} of each class, seed {seed}"
    return Found(classes, train.select(kept), None, train.select(tested), how)


def stratified(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices that stay and that are taken, ascending: of each class a random share, rounded.

    Every class keeps one image at least.
    """
    rng = np.random.default_rng([seed, len(labels)])
    taken = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(int(share * len(members) + 0.5), len(members) - 1)
        taken.append(rng.permutation(members)[:count])
    chosen = np.sort(np.concatenate(taken))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def read(
    listing: Listing, *, channels: int, memory_limit: int, limit: float
) -> tuple[Split, list[str]]:
    """The split of a listing, and the names of the unreadable files that it goes without.

    In memory where all images have one size and fit `memory_limit` bytes, streamed otherwise. The
    first few decide whether that is tried. Raises ValueError where more than the
    share `limit` is unreadable.
    """
    if isinstance(listing.images, Tensor):
        return _from_pixels(listing, channels), []
    store, rows = listing.images, listing.rows
    first = [image for image in _mapped(store, rows[:32], channels) if isinstance(image, Tensor)]
    sizes = {image.shape for image in first}
    if len(sizes) == 1 and len(rows) * first[0].numel() <= memory_limit:
        pixels, bad = _decoded(store, rows, first[0].shape, channels)
    else:
        pixels, bad = None, _bad_headers(store, rows)
    names = [f"{store.name(int(rows[index]))} ({reason})" for index, reason in bad.items()]
    if len(bad) > limit * len(rows):
        raise ValueError(
            f"data: {len(bad)} of {len(rows)} images are unreadable, more than a share of "
            f"{limit:g} (corrupt_limit): {', '.join(names[:3])}"
        )
    good = np.setdiff1d(np.arange(len(rows)), list(bad))
    targets = torch.from_numpy(listing.labels[good])
    if pixels is None:
        return StreamSplit(store, targets, rows[good], channels=channels, limit=limit), names
    return MemorySplit(pixels, targets, None if not bad else good), names


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


def _mapped(store: Store, rows: np.ndarray, channels: int) -> Iterable[Tensor | str]:
    """Images or the reasons why not, in order; PIL decodes outside of Python's lock."""

    def one(row: int) -> Tensor | str:
        try:
            return decode(store.read(row), channels)
        except Unreadable as error:
            return str(error)

    def some(start: int) -> list[Tensor | str]:
        return [one(row) for row in rows[start : start + 32].tolist()]

    with ThreadPoolExecutor(min(8, available_cpus())) as pool:
        for start in range(0, len(rows), 1024):  # bounds what is decoded and not yet placed
            stop = min(start + 1024, len(rows))
            yield from itertools.chain(*pool.map(some, range(start, stop, 32)))


def _decoded(
    store: Store, rows: np.ndarray, shape: torch.Size, channels: int
) -> tuple[Tensor | None, dict[int, str]]:
    """uint8 [n, c, h, w], None where sizes differ after all; and those unreadable, black."""
    pixels = torch.zeros((len(rows), *shape), dtype=torch.uint8)
    bad: dict[int, str] = {}
    for index, image in enumerate(_mapped(store, rows, channels)):
        if isinstance(image, str):
            bad[index] = image
        elif image.shape != shape:
            return None, _bad_headers(store, rows)
        else:
            pixels[index] = image
    return pixels, bad


def _bad_headers(store: Store, rows: np.ndarray) -> dict[int, str]:
    """Files whose start shows that they are no images, by their place in `rows`."""
    if len(rows) > CHECKED_HEADERS:
        return {}  # an hour on a slow disk; StreamSplit copes with them as it meets them

    def one(row: int) -> str | None:
        try:
            with store.open(row) as file:
                check_header(file)
        except Unreadable as error:
            return str(error)
        return None

    with ThreadPoolExecutor(min(8, available_cpus())) as pool:
        reasons = list(pool.map(one, rows.tolist()))
    return {index: reason for index, reason in enumerate(reasons) if reason is not None}
