"""Values of options: their types, limits, texts and conversion.

`vbs.config` defines configs, whose fields are options.
"""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any

from vbs.plugins import catalog_name
from vbs.text import one_of, quoted, shortened
from vbs.units import parse_quantity, parse_seconds, quantity_text, seconds_text

# limits of options with these names, in every command
SCALES, SIDES, MANY = (1e-3, 1e3), (1, 100_000), (1, 100_000)
LIMITS: dict[str, tuple[float, float]] = {
    "width": SCALES,
    "depth": SCALES,
    "proxy_width": SCALES,
    "resolution": SIDES,
    "proxy_resolution": SIDES,
    "max_resolution": SIDES,
    "round_resolution": SIDES,
    "classes": (1, 1_000_000),
    "cpus": (0, 1e6),
    "gpus": (0, 1e6),
    "workers": MANY,
    "loaders": MANY,
    "nodes": MANY,
    "retries": (0, 100_000),
    "batch": (1, 1_000_000),
    "measure_batch": (1, 65_536),
    "threads": (1, 1024),
    "measure_threads": (1, 1024),
}
PATHS = ("DIR", "FILE", "PATH")  # metavars of options whose values are paths
WHOLE = 2**63  # upper limit of whole numbers
# parser of a value -> function that writes the value as text
TEXTS: dict[Any, Callable[[Any], str]] = {
    parse_quantity: quantity_text,
    parse_seconds: seconds_text,
}


class ConfigError(ValueError):
    """An invalid value of an option: `name` is the field, `text` describes the mistake."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


@dataclass(frozen=True)
class Option:
    """Metadata of a config field that is a command-line option.

    help     one line, with the unit and the default.
    metavar  placeholder of the value in the help, such as SIZE; "": derived from the type.
    parse    function that reads the value from a text; called with the text and what=NAME, raises
             ValueError.
    limits   smallest and largest allowed number, both inclusive.
    choices  allowed values; (): any.
    catalog  known names; any other value names code to import (`vbs.plugins`), which is accepted
             only from the command line or Python, never from a file alone.
    later    whether a resumed run may change the option.
    flag     name of the option if it differs from the field, such as "set".
    old      earlier spellings of the option; they are accepted with a warning.
    many     whether one flag takes several values (otherwise the flag is repeated).
    commas   whether commas separate the values of a text (not of a list, such as a record has).
    fields   names that its values NAME=VALUE may begin with; an unknown option of such a name is
             reported with the value to use instead.
    """

    help: str = ""
    metavar: str = ""
    parse: Callable[..., Any] | None = None
    limits: tuple[float, float] = (-math.inf, math.inf)
    choices: tuple[str, ...] = ()
    catalog: Collection[str] = ()
    later: bool = False
    flag: str = ""
    old: tuple[str, ...] = ()
    many: bool = False
    commas: bool = False
    fields: Collection[str] = ()


@dataclass(frozen=True)
class Kind:
    """Type of a field: `base` (str, int, float or bool), `many` (a tuple), `optional` (or None)."""

    base: type
    many: bool
    optional: bool


def kind_of(hint: Any) -> Kind:
    """Return the type of a field with this annotation."""
    optional = many = False
    if typing.get_origin(hint) in (typing.Union, UnionType):
        parts = [part for part in typing.get_args(hint) if part is not NoneType]
        (hint,), optional = parts, True
    if typing.get_origin(hint) is tuple:
        hint, many = typing.get_args(hint)[0], True
    assert hint in (str, int, float, bool), hint
    return Kind(hint, many, optional)


def convert(name: str, kind: Kind, known: Option, value: Any) -> Any:
    """Convert a value of the option `name` to its type; raises ConfigError for an invalid value."""
    value = _plain(value)
    if value is None and kind.optional:
        return None
    if kind.many:
        values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
        if known.commas and isinstance(value, str):
            values = parts(value)
        return tuple(_checked(name, kind.base, known, each) for each in values)
    return _checked(name, kind.base, known, value)


def parts(text: str) -> list[str]:
    """Return the parts of a text between commas."""
    return [part.strip() for part in text.split(",")]


def _checked(name: str, base: type, known: Option, value: Any) -> Any:
    value = _typed(name, base, known, value)
    low, high = known.limits if known.limits[0] > -math.inf else LIMITS.get(name, known.limits)
    if base in (int, float) and not low <= value <= high:
        raise ConfigError(name, f"{value} is not allowed; use {_range(low, high)}")
    try:
        if known.choices:
            one_of(name, value, known.choices)
        return catalog_name(value, known.catalog, what=name) if known.catalog else value
    except ValueError as error:
        raise ConfigError(name, str(error).removeprefix(f"{name}: ")) from None


def _plain(value: Any) -> Any:
    """Convert a path or a NumPy number or array to Python's own text, number or list."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if type(value).__module__ == "numpy" else value


def _typed(name: str, base: type, known: Option, value: Any) -> Any:
    """Convert a value from any source to the type of the option."""
    value = _plain(value)
    if isinstance(value, str) and known.parse is not None:
        try:
            value = known.parse(value, what=name)
        except ValueError as error:
            raise ConfigError(name, str(error).removeprefix(f"{name}: ")) from None
    if base is bool or isinstance(value, bool):
        if base is not bool or not isinstance(value, bool):
            raise ConfigError(name, f"{quoted(value)} is not {_called(base)}")
        return value
    if base is str:
        if not isinstance(value, str):
            raise ConfigError(name, f"{quoted(value)} is not a text")
        if known.metavar in PATHS and not value.strip():
            raise ConfigError(name, "the path is empty")
        return value
    return number(name, base, value)


def number(name: str, base: type, value: Any) -> Any:
    """Convert a value to a finite number of type `base`; raises ConfigError if it is not one."""
    shown = shortened(repr(value), 40)
    wrong = ConfigError(name, f"{shown} is not {_called(base)}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong
    try:
        text = base is int and isinstance(value, str)
        found = int(value) if text or isinstance(value, int) else float(value)
    except (ValueError, OverflowError):
        raise wrong from None
    if not -math.inf < found < math.inf or found != (int(found) if base is int else found):
        raise wrong
    if base is int and not -WHOLE <= found < WHOLE:
        raise ConfigError(name, f"{shown} is too large")
    return base(found)


def _called(base: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a finite number"}.get(
        base, "a text"
    )


def _range(low: float, high: float) -> str:
    least, most = (f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (low, high))
    if high >= 10**9:
        return f"{least} or more"
    return f"a number from {least} to {most}" if low > -math.inf else f"a number up to {most}"
