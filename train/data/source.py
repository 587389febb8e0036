"""Parsing of the value of --data: a kind of source, its place, and its options.

imagefolder:DIR   FILE.zip   parquet:DIR   cifar10 ...    and after a question mark, e.g.
imagefolder:DIR?train=fit&test=check&corrupt_limit=0.05

An existing folder without a prefix is an imagefolder, unless it is named like a named set or holds
parquet files. This module imports neither numpy nor torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vbs.folder import folder_problem
from vbs.text import quoted, shortened

NAMED_SETS = ("cifar10", "cifar100", "fashion-mnist", "imagenet")  # torchvision's
FOLDER, ARCHIVE, PARQUET, NAMED = "imagefolder", "zip", "parquet", "named"
_SPLITS = ("train", "val", "test", "splits")
OPTIONS = {
    FOLDER: (*_SPLITS, "corrupt_limit"),
    ARCHIVE: (*_SPLITS, "corrupt_limit"),
    PARQUET: ("image", "label", "corrupt_limit"),
    NAMED: ("corrupt_limit",),
}


@dataclass(frozen=True)
class Source:
    """The parsed value of --data.

    kind     "imagefolder", "zip", "parquet" or "named".
    place    path of the folder or archive, or the name of the set.
    options  train, val, test: names of the folders of these splits, or "none"; splits=none: all
             folders are classes. image, label: columns of parquet files. corrupt_limit: largest
             share of unreadable files.
    """

    kind: str
    place: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        prefix = f"{self.kind}:" if self.kind in (FOLDER, PARQUET) else ""
        return f"{prefix}{self.place}{self._query(self.options)}"

    def changed(self, **options: str | None) -> str:
        """Return --data with changed options, for a shell; None removes an option."""
        whole = {key: value for key, value in {**self.options, **options}.items() if value}
        prefix = f"{self.kind}:" if self.kind in (FOLDER, PARQUET) else ""
        return f'--data "{shortened(prefix + self.place + self._query(whole))}"'

    @staticmethod
    def _query(options: Mapping[str, str]) -> str:
        return "?" * bool(options) + "&".join(f"{key}={value}" for key, value in options.items())

    def absolute(self) -> Source:
        """Return the source with an absolute path."""
        if self.kind == NAMED:
            return self
        return Source(self.kind, os.path.abspath(self.place), self.options)

    def corrupt_limit(self, default: float) -> float:
        """Return the largest share of unreadable files; raise ValueError for an invalid one."""
        text = self.options.get("corrupt_limit", default)
        try:
            limit = float(text)
        except ValueError:
            limit = -1.0
        if not 0 <= limit <= 1:
            raise ValueError(f"corrupt_limit: {text!r} is not allowed; use a share from 0 to 1")
        return limit


def parse(text: str) -> Source:
    """Return the source that a text names; raise ValueError for an unknown option.

    Without a known prefix, a name that ends in .zip is of kind "zip", an existing folder without
    parquet files is of kind "imagefolder", and any other text is of kind "named". The path itself
    may contain a question mark if it exists.
    """
    kind, colon, rest = text.partition(":")
    if kind not in (FOLDER, PARQUET) or not colon:
        kind, rest = "", text
    place, mark, query = rest, "", ""
    if not os.path.exists(rest):
        place, mark, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    kind = kind or _kind(place)
    if kind != NAMED:
        place = os.path.expanduser(place)  # a shell does not expand ~ after "imagefolder:"
    return Source(kind, place, _options(kind, query, text) if mark else {})


def _kind(place: str) -> str:
    """Return the kind of a source without a prefix."""
    if place.lower().endswith(".zip"):
        return ARCHIVE
    folder = os.path.expanduser(place)
    # a folder with parquet files may also have images; the user says which
    is_folder = place and place not in NAMED_SETS and os.path.isdir(folder)
    return FOLDER if is_folder and not parquet_files(folder)[1] else NAMED


def known_source(text: str) -> Source:
    """Return the source that --data names; raise ValueError if it is unknown or does not exist."""
    source = parse(text)
    place, shown = source.place, shortened(source.place)
    if not place or (source.kind == NAMED and place not in NAMED_SETS):
        if place and os.path.isdir(os.path.expanduser(place)):
            raise ValueError(
                f"data: {shown} holds parquet files; use parquet:{shown}, or imagefolder:{shown} "
                "for the image files in it"
            )
        raise ValueError(
            f"data: {quoted(text)} is unknown; use {', '.join(NAMED_SETS)}, imagefolder:DIR, "
            "parquet:DIR or FILE.zip"
        )
    if source.kind == ARCHIVE and not os.path.exists(place):
        raise ValueError(f"data: {shown} does not exist")
    if source.kind in (FOLDER, PARQUET) and not os.path.isdir(place):
        what = "images" if source.kind == FOLDER else "parquet files"
        raise ValueError(f"data: {shown} {folder_problem(place)}; use a folder that holds {what}")
    return source


def image_source(text: str) -> Source:
    """Return the source of images to predict; texts of an unknown kind are files or folders."""
    place = text if os.path.exists(text) else text.rpartition("?")[0] or text
    if place.lower().endswith(".parquet") and not text.startswith(f"{PARQUET}:"):
        return parse(f"{PARQUET}:{text}")
    source = parse(text)
    return Source(FOLDER, source.place, source.options) if source.kind == NAMED else source


def parquet_files(folder: str) -> tuple[Path, list[Path]]:
    """Return the parquet files in one of the supported places of a folder, and that place."""
    for place, pattern in (
        (Path(folder), "*.parquet"),
        (Path(folder, "data"), "*.parquet"),
        (Path(folder, "data"), "*/*.parquet"),
        (Path(folder), "*/*.parquet"),
    ):
        if files := sorted(place.glob(pattern)):
            return place, files
    return Path(folder), []


def allowing(text: str, share: float) -> str:
    """Return the remedy that ends a message about unreadable files; "" if `text` is empty."""
    if not text:
        return ""
    enough = f"{math.ceil(100 * share) / 100:g}"
    return f"; repair them, or allow more: {parse(text).changed(corrupt_limit=enough)}"


def _options(kind: str, query: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in OPTIONS[kind] or not value or key in found:
            raise ValueError(
                f"data: {quoted(part)} of {quoted(text)} is unknown; after the "
                f"question mark use {', '.join(f'{name}=...' for name in OPTIONS[kind])}, each "
                "once, joined by &"
            )
        found[key] = value
    return found
