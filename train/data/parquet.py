"""Data sets in parquet files, in the layout of Hugging Face.

parquet:DIR  Files of DIR or DIR/data whose names contain train, val (valid, validation, dev) or
             test (testing, eval, evaluation) as a word, e.g. train-00000-of-00002.parquet, or
             folders of these names with parquet files. A split without labels (all -1, as Hugging
             Face marks them, or all null) is not used. `train.data.columns` chooses the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from train.data.columns import Columns, choose, class_names, opened
from train.data.listing import Found, Listing, found
from train.data.source import Source, parquet_files
from train.data.split_names import WORDS, by_split, hinted
from train.data.stores import ParquetStore
from vbs.text import quoted, shortened

UNKNOWN = -1  # label of an image without a label


def find(source: Source, seed: int) -> Found:
    """Return the data set of a folder's files; raise ValueError if there is none."""
    place, files = _files(source.place)
    groups, notes = _groups(place, files)
    columns = choose(groups["train"][0], source)
    assert columns.label is not None
    labels = {name: _labels(paths, columns) for name, paths in groups.items()}
    for name in [name for name, values in labels.items() if _unlabelled(values)]:
        if name == "train":
            raise ValueError(f"data: {place}: the training images have no labels (all are -1)")
        notes.append(f"not used: the {name} split of {place}, which has no labels (all are -1)")
        del labels[name], groups[name]
    names = columns.classes
    if names is None:
        known = sorted(set(labels["train"]))
        names = [str(value) for value in known]
    else:
        known = names
    if len(names) < 2:
        raise ValueError(f"data: {place} has {len(names)} class; use two or more")
    listings: dict[str, Listing] = {}
    for name, values in labels.items():
        numbers = _numbered(values, known, f"{place}, {name} split")
        store = ParquetStore(groups[name], columns.image)
        listings[name] = Listing(store, numbers, np.arange(len(numbers)))
    whole = found(tuple(names), listings["train"], listings.get("val"), listings.get("test"), seed)
    return replace(whole, notes=(*notes, str(columns), *whole.notes))


def everything(source: Source) -> ParquetStore:
    """Return the images of all parquet files of a folder."""
    _, files = _files(source.place)
    return ParquetStore(files, choose(files[0], source, labelled=False).image)


def has_files(folder: str) -> bool:
    """Return whether a folder contains parquet files in one of the supported places."""
    return bool(parquet_files(folder)[1])


def _files(folder: str) -> tuple[Path, list[Path]]:
    place, files = parquet_files(folder)
    if not files:
        raise ValueError(
            f"data: {shortened(folder)} holds no parquet files; use a folder with train*.parquet"
        )
    return place, files


def _groups(place: Path, files: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the files by split, train first, and notes on unused files."""
    keys = {path: path.stem if path.parent == place else path.parent.name for path in files}
    exact = {name: split for split, names in by_split(keys.values()).items() for name in names}
    groups: dict[str, list[Path]] = {}
    unused = []
    for path, key in keys.items():
        split = exact.get(key) or hinted(key)
        if split:
            groups.setdefault(split, []).append(path)
        else:
            unused.append(path)
    if "train" not in groups:
        held = ", ".join(shortened(path.name, 60) for path in files[:3])
        raise ValueError(
            f"data: {shortened(place)} holds {held} but no train*.parquet; use one of the words "
            f"{', '.join(WORDS)} in the names of files"
        )
    shown = ", ".join(shortened(path.relative_to(place), 60) for path in unused[:5])
    more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
    notes = [f"not used: {shown}{more} of {shortened(place)}"] if unused else []
    return {split: groups[split] for split in ("train", "val", "test") if split in groups}, notes


def _labels(paths: Sequence[Path], columns: Columns) -> list[Any]:
    """Return names of classes if the training files have them, else the values themselves."""
    column = columns.label
    assert column is not None
    parts: list[Any] = []
    empty = 0
    for path in paths:
        reader = opened(path)
        if column not in reader.schema_arrow.names:
            raise ValueError(f"data: {shortened(path)} has no column {quoted(column)}")
        values = reader.read(columns=[column], use_threads=False)[column].to_pylist()
        empty += values.count(None)
        if columns.classes:
            # splits may list their classes in different orders, so the names are compared
            names = class_names(reader.schema_arrow, column) or columns.classes
            values = [_named(value, names) for value in values]
        parts += values
    if empty and empty < len(parts):
        raise ValueError(
            f"data: {shortened(paths[0].parent)} has {empty} rows without {quoted(column)}"
        )
    return parts


def _named(value: Any, names: Sequence[str]) -> Any:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _unlabelled(values: Sequence[Any]) -> bool:
    return bool(values) and all(value is None or value == UNKNOWN for value in values)


def _numbered(values: Sequence[Any], known: Sequence[Any], where: str) -> np.ndarray:
    numbers = {value: number for number, value in enumerate(known)}
    labels = np.array([numbers.get(value, UNKNOWN) for value in values], np.int64)
    if len(labels) == 0:
        raise ValueError(f"data: {where} holds no images")
    if labels.min() < 0:
        strange = values[int(np.argmin(labels))]
        raise ValueError(
            f"data: {where} has the label {shortened(repr(strange))}, "
            "which is not one of the classes"
        )
    return labels
