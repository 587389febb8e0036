"""Functions that validate the fields of an architecture, and convert them for JSON files."""

from __future__ import annotations

import dataclasses
from typing import Any

from vbs.text import shortened

# metadata of fields that are not stored if they have their defaults, so that older files and keys,
# which do not have these fields, stay valid
LATER = {"later": True}


def stored(item: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without `LATER` fields that have their default."""
    return {
        each.name: getattr(item, each.name)
        for each in dataclasses.fields(item)
        if not each.metadata.get("later") or getattr(item, each.name) != each.default
    }


def fields_of(kind: type, fields: object, what: str) -> dict:
    """Return `fields` if it is a dict with the fields of `kind`; raises ValueError otherwise."""
    if not isinstance(fields, dict):
        raise ValueError(f"{what}: {shortened(repr(fields))} is not a JSON object")
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name in fields:
        if name not in known:
            raise ValueError(f"{shortened(name)}: unknown field; use one of {', '.join(known)}")
    for name, field in known.items():
        if field.default is dataclasses.MISSING and name not in fields:
            raise ValueError(f"{name}: this field is missing from the {what}")
    return fields


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is one of the allowed ones."""
    if value not in allowed:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; use one of {', '.join(allowed)}"
        )


def whole(name: str, value: object, *, least: int, most: int = 10**6) -> int:
    """Return the value; raises ValueError unless it is an int from `least` to `most`."""
    # bool is a subclass of int, but `"layers": true` in a file is a mistake; the upper bound
    # limits the time to unroll a hostile file
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; "
            f"use a whole number from {least} to {most}"
        )
    return value


def odd(name: str, value: object) -> None:
    """Raise ValueError unless the value is a positive odd int."""
    if whole(name, value, least=1) % 2 == 0:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; use an odd number (1, 3, 5, 7, ...)"
        )


def odd_or_0(name: str, value: object) -> None:
    """Raise ValueError unless the value is 0 or a positive odd int."""
    if whole(name, value, least=0):
        odd(name, value)


def number(name: str, value: object, *, low: float, high: float) -> float:
    """Return the value as a float; raises ValueError unless it is from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; use a number from {low} to {high}"
        )
    return float(value)
