"""Data sets in parquet files, in the layout of Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from train.images import ParquetStore
from train.sources import Found, Listing, found

_LABELS = ("label", "labels", "fine_label", "class", "target")


def find(folder: str, seed: int) -> Found:
    """The data set of a folder's train*, val* and test* files; ValueError where there is none."""
    place, files = _files(folder)
    groups = {name: [path for path in files if path.name.startswith(name)]
              for name in ("train", "val", "test")}  # fmt: skip
    if not groups["train"]:
        held = ", ".join(path.name for path in files[:3])
        raise ValueError(f"data: {place} holds {held} but no train*.parquet")
    image, label, names = _columns(groups["train"][0])
    raw = {name: _labels(paths, label) for name, paths in groups.items() if paths}
    if names is None:
        known = np.unique(raw["train"]).tolist()
        names = [str(value) for value in known]
    else:
        numeric = raw["train"].dtype.kind in "iu"
        known = list(range(len(names))) if numeric else names
    if len(names) < 2:
        raise ValueError(f"data: {place} has {len(names)} class; use two or more")
    listings: dict[str, Listing | None] = {"train": None, "val": None, "test": None}
    for name, values in raw.items():
        labels = _numbered(values, known, f"{place}/{name}*.parquet")
        listings[name] = Listing(ParquetStore(groups[name], image), labels, np.arange(len(labels)))
    train = listings["train"]
    assert train is not None
    return found(tuple(names), train, listings["val"], listings["test"], seed)


def everything(folder: str) -> ParquetStore:
    """The images of all parquet files of a folder."""
    _, files = _files(folder)
    return ParquetStore(files, _columns(files[0], labelled=False)[0])


def _files(folder: str) -> tuple[Path, list[Path]]:
    for place in (Path(folder), Path(folder, "data")):
        files = sorted(place.glob("*.parquet"))
        if files:
            return place, files
    raise ValueError(f"data: {folder} holds no parquet files; use a folder with train*.parquet")


def _columns(path: Path, *, labelled: bool = True) -> tuple[str, str, list[str] | None]:
    """Names of the image and the label column, and those of the classes where the file has them."""
    import pyarrow

    schema = _opened(path).schema_arrow
    features = _features(schema.metadata)
    images = [field.name for field in schema if pyarrow.types.is_struct(field.type)
              and field.type.get_field_index("bytes") >= 0]  # fmt: skip
    images += [field.name for field in schema if pyarrow.types.is_binary(field.type)]
    plain = [field.name for field in schema if pyarrow.types.is_integer(field.type)
             or pyarrow.types.is_string(field.type)]  # fmt: skip
    labels = [name for name in plain if _kind(features, name) == "ClassLabel"]
    labels += [name for name in _LABELS if name in plain] + (plain if len(plain) == 1 else [])
    if not images or (labelled and not labels):
        lacking = "image column (struct of bytes and path)" if not images else "label column"
        raise ValueError(f"data: {path} has no {lacking} among {', '.join(schema.names)}")
    if not labels:
        return images[0], "", None
    feature = features.get(labels[0])
    names = feature.get("names") if isinstance(feature, dict) else None
    usable = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return images[0], labels[0], names if usable else None


def _kind(features: dict[str, Any], name: str) -> Any:
    feature = features.get(name)
    return feature.get("_type") if isinstance(feature, dict) else None


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _opened(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"data: {path} cannot be read as parquet ({reason})") from None


def _labels(paths: list[Path], column: str) -> np.ndarray:
    parts = []
    for path in paths:
        reader = _opened(path)
        if column not in reader.schema_arrow.names:
            raise ValueError(f"data: {path} has no column {column!r}")
        values = reader.read(columns=[column])[column]
        if values.null_count:
            raise ValueError(f"data: {path} has {values.null_count} rows without {column!r}")
        parts.append(np.array(values.to_pylist()))
    return np.concatenate(parts)


def _numbered(values: np.ndarray, known: list[Any], where: str) -> np.ndarray:
    numbers = {value: number for number, value in enumerate(known)}
    labels = np.array([numbers.get(value, -1) for value in values.tolist()], np.int64)
    if len(labels) == 0:
        raise ValueError(f"data: {where} holds no images")
    if labels.min() < 0:
        strange = values[int(np.argmin(labels))]
        raise ValueError(f"data: {where} has the label {strange!r}, which is none of the classes")
    return labels
