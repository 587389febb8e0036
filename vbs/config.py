"""Configs of commands: frozen dataclasses whose fields are options.

    @dataclass(frozen=True, kw_only=True)
    class SearchConfig(DataOptions, StudyOptions):
        title: ClassVar[str] = "search"
        target_flops: float | None = option(None, help="...", metavar="SIZE", parse=parse_quantity)

A value is read alike from a command line, a YAML file, a JSON record and Python. A group of
options is a base class: names are flat everywhere. What a run saves can be read again.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from vbs.plugins import catalog_name, is_reference
from vbs.text import one_of, quoted, shell_word, shortened
from vbs.units import parse_quantity, parse_seconds, quantity_text, seconds_text

if TYPE_CHECKING:
    from typing_extensions import Self

# limits of the options with these names, in every command
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
PATHS = ("DIR", "FILE", "PATH")  # metavars of options that name one
WHOLE = 2**63  # whole numbers are below it
# by what reads a value: what writes it
TEXTS: dict[Any, Callable[[Any], str]] = {
    parse_quantity: quantity_text,
    parse_seconds: seconds_text,
}


class ConfigError(ValueError):
    """An invalid value of an option: `name` is the field, `text` what is wrong with it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


@dataclass(frozen=True)
class Option:
    """What a field of a config says of itself as an option.

    help     one line, with the unit and the default.
    metavar  what stands for the value in the help, such as SIZE; "" by the type.
    parse    reads the value from a text: called with the text and what=NAME, raises ValueError.
    limits   least and most of a number, both inclusive.
    choices  the values that are allowed, () for any.
    catalog  names that are known; any other value names code to import (`vbs.plugins`), which
             takes effect only where it is given on the command line or in Python, never by a file.
    later    whether a resumed run may change it: it says how something is done, not what.
    flag     the option's name where it is not the field's, such as "set".
    old      earlier spellings of the option; they are accepted with a warning.
    many     whether a command line gives several values after one flag, not a flag for each.
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


def option(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """A field of a config; the keywords are those of `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(**kwargs)})


@dataclass(frozen=True)
class Kind:
    """What a field may be: `base` (str, int, float or bool), in a tuple or not, None or not."""

    base: type
    many: bool
    optional: bool


C = TypeVar("C", bound="Config")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configs. Values are converted and checked when a config is made.

    Raises ConfigError, which is a ValueError, for a value that an option cannot have.
    """

    title: ClassVar[str] = "options"  # of the group of options that a class adds
    # digests of what a run read, which earlier versions kept among its settings
    recorded: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *_: Any, **values: Any) -> Self:
        """A TypeError for a name that is no option says which is near."""
        known = [each.name for each in dataclasses.fields(cls) if each.init]
        for name in values:
            try:
                one_of("option", name, known)
            except ValueError as error:
                raise TypeError(f"{cls.__name__}: {error}") from None
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name in options(type(self)):
            value = converted(type(self), name, getattr(self, name))
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise ValueError where options do not go together; for subclasses."""

    def settings(self) -> dict[str, Any]:
        """The values as plain data, as a record keeps them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ((name, getattr(self, name)) for name in options(type(self)))
        }


def _once(function: Callable[[type[Config]], R]) -> Callable[[type[Config]], R]:
    """The function, called once for each class."""
    known: dict[int, R] = {}

    @functools.wraps(function)
    def cached(config: type[Config]) -> R:
        if id(config) not in known:  # classes live as long as the program
            known[id(config)] = function(config)
        return known[id(config)]

    return cached


@_once
def options(config: type[Config]) -> dict[str, Option]:
    """The options of a config by the names of their fields, in the order of its groups."""
    return {
        each.name: each.metadata["option"]
        for each in dataclasses.fields(config)
        if "option" in each.metadata
    }


@_once
def groups(config: type[Config]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(title, names of fields) of each class that adds options, the config's own first.

    An option that a class defines again stays in the group that it comes from.
    """
    known = options(config)
    by_class = {each: inspect.get_annotations(each) for each in config.__mro__}
    owners = {name: each for each, names in by_class.items() for name in names if name in known}
    found: dict[str, list[str]] = {}
    for each, annotated in by_class.items():
        names = [name for name in annotated if owners.get(name) is each]
        if names:
            found.setdefault(each.__dict__.get("title", "options"), []).extend(names)
    return tuple((title, tuple(dict.fromkeys(names))) for title, names in found.items())


@_once
def kinds(config: type[Config]) -> dict[str, Kind]:
    """What each field may be, from its annotation."""
    hints = typing.get_type_hints(config)
    return {name: _kind(hints[name]) for name in options(config)}


def _kind(hint: Any) -> Kind:
    optional = many = False
    if typing.get_origin(hint) in (typing.Union, UnionType):
        parts = [part for part in typing.get_args(hint) if part is not NoneType]
        (hint,), optional = parts, True
    if typing.get_origin(hint) is tuple:
        hint, many = typing.get_args(hint)[0], True
    assert hint in (str, int, float, bool), hint
    return Kind(hint, many, optional)


def flag(name: str, config: type[Config] | None = None) -> str:
    """An option as it is typed: --target-flops."""
    known = options(config).get(name) if config is not None else None
    return "--" + ((known.flag if known else "") or name).replace("_", "-")


def converted(config: type[Config], name: str, value: Any) -> Any:
    """The value of a field as its annotation has it; ConfigError where it cannot be one."""
    kind, known = kinds(config)[name], options(config)[name]
    value = _plain(value)
    if value is None and kind.optional:
        return None
    if kind.many:
        values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
        return tuple(_checked(name, kind.base, known, each) for each in values)
    return _checked(name, kind.base, known, value)


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
    """A path, or a number or an array of NumPy, as Python's own text, number or list."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if type(value).__module__ == "numpy" else value


def _typed(name: str, base: type, known: Option, value: Any) -> Any:
    """The value by its type, of whatever source."""
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
    """A finite number of that type; ConfigError for what is none."""
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


def value_text(config: type[Config], name: str, value: Any) -> str:
    """One value of an option as it is typed: 400M, 20ms."""
    return TEXTS.get(options(config)[name].parse, str)(value)


def from_values(config: type[C], values: Mapping[str, Any]) -> C:
    """A config of named values, texts among them; ConfigError for a name that is no option."""
    found = named(config, values)
    for each in dataclasses.fields(config):
        if each.default is dataclasses.MISSING and each.name not in found:
            known = options(config)[each.name]
            raise ValueError(f"{flag(each.name, config)} is missing; {known.help}")
    return config(**found)


def partial(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of some options, converted and checked one by one."""
    return {name: converted(config, name, value) for name, value in named(config, values).items()}


def named(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names of fields: a file may have them as on the command line."""
    known = options(config)
    fields = {each.flag.replace("-", "_"): name for name, each in known.items() if each.flag}
    fields |= {
        old.removeprefix("--").replace("-", "_"): name
        for name, each in known.items()
        for old in each.old
    }
    found = {}
    for given, value in values.items():
        name = str(given).replace("-", "_")
        name = fields.get(name, name)
        if name in config.recorded:
            continue
        if name not in known:
            one_of("option", name, known)
        if name in found:
            raise ConfigError(name, "it is given twice")
        found[name] = value
    return found


def code_values(config: Config) -> dict[str, Any]:
    """The options that name code to import."""
    return named_code(type(config), config.settings())


def named_code(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some values, converted or not, that name code to import."""
    by_field = {str(name).replace("-", "_"): value for name, value in values.items()}
    return {
        name: by_field[name]
        for name, known in options(config).items()
        if known.catalog
        and isinstance(by_field.get(name), str)
        and is_reference(by_field[name], known.catalog)
    }


def check_code(
    config: type[Config], stored: Mapping[str, Any], given: Collection[str], *, source: str
) -> None:
    """ConfigError where values from a file name code, and the user has not named it again."""
    for name, value in named_code(config, stored).items():
        if name not in given:
            raise ConfigError(
                name,
                f"{source} names code, {shortened(value)}; it runs if you give it again: "
                f"{flag(name, config)} {shell_word(value)}",
            )


def given_values(config: Config) -> dict[str, Any]:
    """The values that differ from the defaults."""
    defaults = {
        each.name: each.default
        for each in dataclasses.fields(config)
        if each.default is not dataclasses.MISSING
    }
    return {
        name: getattr(config, name)
        for name in options(type(config))
        if name not in defaults or getattr(config, name) != defaults[name]
    }
