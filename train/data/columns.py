"""Choice of the image and label columns of a parquet file.

An image column holds bytes, or structs with a field `bytes`, as Hugging Face writes them. A label
column holds integers, text, booleans or categories, in any of Arrow's types that pandas or polars
use for them. If several columns qualify, those marked as images and class labels in Hugging Face's
features take precedence, then those with the usual names; if more than one remains, ValueError is
raised.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.data.source import Source
from vbs.text import quoted, shortened

IMAGES = ("image", "img", "picture", "photo", "jpg", "png", "image_bytes", "bytes")
LABELS = ("label", "labels", "class", "target", "category", "fine_label", "class_id", "class_name")


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and names of the classes if the file has them.

    others  columns that could have been chosen instead.
    """

    image: str
    label: str | None
    classes: list[str] | None
    others: tuple[str, ...]

    def __str__(self) -> str:
        label = f" and label {quoted(self.label)}" if self.label is not None else ""
        others = ", ".join(quoted(name, 60) for name in self.others)
        return f"columns: image {quoted(self.image)}{label}" + (
            f"; not used: {others} (?image=...&label=... chooses)" if others else ""
        )


def choose(path: Path, source: Source, *, labelled: bool = True) -> Columns:
    """Return the columns named by the source or recognised; raise ValueError if there are none."""
    schema = opened(path).schema_arrow
    features = _features(schema.metadata)
    images = [field.name for field in schema if _is_image(field.type)]
    labels = [
        field.name
        for field in schema
        if _is_label(field.type) and not field.name.startswith("__index_level_")
    ]
    pictures = _Candidates("image", images, _of_kind(features, images, "Image"), IMAGES)
    image = _one(pictures, schema, path, source)
    label = None
    if labelled:
        classes = _of_kind(features, labels, "ClassLabel")
        label = _one(_Candidates("label", labels, classes, LABELS), schema, path, source)
    names = class_names(schema, label) if label is not None else None
    others = [name for name in images if name != image]
    # other columns of numbers or text are not listed as alternatives unless they may be classes
    others += [
        name
        for name in labels
        if labelled
        and name != label
        and (name in LABELS or name in _of_kind(features, labels, "ClassLabel"))
    ]
    return Columns(image, label, names, tuple(others))


@dataclass(frozen=True)
class _Candidates:
    """Columns that may be the image or the label.

    kind     "image" or "label".
    fitting  columns of an allowed type.
    marked   those of them that Hugging Face's features mark as this kind.
    usual    usual names of such columns, the most usual first.
    """

    kind: str
    fitting: Sequence[str]
    marked: Sequence[str]
    usual: Sequence[str]


def _one(candidates: _Candidates, schema: Any, path: Path, source: Source) -> str:
    """Return the column of a kind; raise ValueError if there is none or more than one."""
    kind, fitting = candidates.kind, candidates.fitting
    marked, usual = candidates.marked, candidates.usual
    given = source.options.get(kind)
    if given is not None:
        if given not in fitting:
            type_of = f" of type {schema.field(given).type}" if given in schema.names else ""
            raise ValueError(
                f"data: {kind}: {shortened(path)} has no {kind} column {quoted(given)}"
                f"{type_of}; use one of {_listed(fitting)}"
            )
        return given
    for some in (marked, fitting):
        called = [name for name in usual if name in some]
        other = [name for name in usual if name in fitting and name not in some]
        if len(some) == 1 and (called or not other):
            return some[0]
        if called:
            return called[0]
        if some and (some is fitting or other or len(some) > 1):
            break
    if fitting:
        known = [*marked, *(name for name in usual if name in fitting and name not in marked)]
        known = known or list(fitting)
        first = source.changed(**{kind: known[0]})
        raise ValueError(
            f"data: {shortened(path)} has several columns that may be the {kind}: "
            f"{_listed(known)}; say which, e.g. {first}"
        )
    what = (
        "bytes, or structs with a field bytes"
        if kind == "image"
        else ("integers, text, booleans or categories")
    )
    held = _listed([f"{field.name} ({field.type})" for field in schema])
    raise ValueError(
        f"data: {shortened(path)} has no {kind} column (of {what}); its columns are {held}"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name, 60) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"


def _is_image(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_image(kind.field(at).type)
    views = getattr(types, "is_binary_view", None)  # pyarrow 16 and newer
    return types.is_binary(kind) or types.is_large_binary(kind) or bool(views and views(kind))


def _is_label(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_label(kind.value_type)
    views = getattr(types, "is_string_view", None)
    return (
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or bool(views and views(kind))
    )


def _of_kind(features: dict[str, Any], names: Sequence[str], kind: str) -> list[str]:
    found = {name: features.get(name) for name in names}
    return [
        name
        for name, feature in found.items()
        if isinstance(feature, dict) and feature.get("_type") == kind
    ]


def class_names(schema: Any, column: str) -> list[str] | None:
    """Return the names of a column's classes from Hugging Face's features, if they have them."""
    feature = _features(schema.metadata).get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    usable = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return names if usable else None


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def opened(path: Path) -> Any:
    """Open a parquet file; raise ValueError if it cannot be read as one."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        reason = shortened(error, 120)
        raise ValueError(f"data: {shortened(path)} cannot be read as parquet ({reason})") from None
