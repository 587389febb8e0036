"""Configs of commands: frozen dataclasses whose fields are options.

    @dataclass(frozen=True, kw_only=True)
    class SearchConfig(DataOptions, StudyOptions):
        title: ClassVar[str] = "search"
        target_flops: float | None = option(None, help="...", metavar="SIZE", parse=parse_quantity)

Values from a command line, a YAML file, a JSON record and Python are read in the same way. A group
of options is a base class; names are flat everywhere. A saved config can be read again.
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


def option(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """Return a field of a config; the keywords are those of `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(**kwargs)})


@dataclass(frozen=True)
class Kind:
    """Type of a field: `base` (str, int, float or bool), `many` (a tuple), `optional` (or None)."""

    base: type
    many: bool
    optional: bool


C = TypeVar("C", bound="Config")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base class of all configs. Values are converted and checked on construction.

    Raises ConfigError (a ValueError) for an invalid value.
    """

    title: ClassVar[str] = "options"  # heading of the options that a class adds
    # names of digests of the input data, which earlier versions stored among the settings
    recorded: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *_: Any, **values: Any) -> Self:
        """Raise a TypeError that suggests similar names for an unknown option."""
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
        """Raise ValueError for options that contradict each other; subclasses override this."""

    def settings(self) -> dict[str, Any]:
        """Return the values as plain data, for a record."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ((name, getattr(self, name)) for name in options(type(self)))
        }


def _once(function: Callable[[type[Config]], R]) -> Callable[[type[Config]], R]:
    """Cache the result of a function for each class."""
    known: dict[int, R] = {}

    @functools.wraps(function)
    def cached(config: type[Config]) -> R:
        if id(config) not in known:  # the ID stays valid: classes live as long as the program
            known[id(config)] = function(config)
        return known[id(config)]

    return cached


@_once
def options(config: type[Config]) -> dict[str, Option]:
    """Return the options of a config by field name, in the order of its groups."""
    return {
        each.name: each.metadata["option"]
        for each in dataclasses.fields(config)
        if "option" in each.metadata
    }


@_once
def groups(config: type[Config]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (title, field names) of each class that adds options, the config's own first.

    An option that a class redefines stays in its original group.
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
    """Return the type of each field, from its annotation."""
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
    """Return an option as it is typed: --target-flops."""
    known = options(config).get(name) if config is not None else None
    return "--" + ((known.flag if known else "") or name).replace("_", "-")


def converted(config: type[Config], name: str, value: Any) -> Any:
    """Convert the value of a field to its type; raises ConfigError for an invalid value."""
    kind, known = kinds(config)[name], options(config)[name]
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


def value_text(config: type[Config], name: str, value: Any) -> str:
    """Return one value of an option as it is typed: 400M, 20ms."""
    return TEXTS.get(options(config)[name].parse, str)(value)


def from_values(config: type[C], values: Mapping[str, Any]) -> C:
    """Build a config from named values or texts; raises ValueError for an unknown option."""
    found = named(config, values)
    for each in dataclasses.fields(config):
        if each.default is dataclasses.MISSING and each.name not in found:
            known = options(config)[each.name]
            raise ValueError(f"{flag(each.name, config)} is missing; {known.help}")
    return config(**found)


def partial(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert and check the values of some options, one by one."""
    return {name: converted(config, name, value) for name, value in named(config, values).items()}


def named(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by field name; a file may name options as the command line does."""
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
    """Return the options that name code to import."""
    return named_code(type(config), config.settings())


def named_code(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the given values, converted or not, that name code to import."""
    by_field = {str(name).replace("-", "_"): value for name, value in values.items()}
    return {
        name: by_field[name]
        for name, known in options(config).items()
        if known.catalog
        and any(is_reference(text, known.catalog) for text in _texts_in(known, by_field.get(name)))
    }


def _texts_in(known: Option, value: Any) -> list[str]:
    if known.commas and isinstance(value, str):
        return parts(value)
    several = value if isinstance(value, list | tuple) else [value]
    return [each for each in several if isinstance(each, str)]


def check_code(
    config: type[Config], stored: Mapping[str, Any], given: Collection[str], *, source: str
) -> None:
    """Raise ConfigError if a file names code and the user did not give that option too."""
    for name, value in named_code(config, stored).items():
        if name not in given:
            known = options(config)[name]
            texts = _texts_in(known, value)
            texts = [",".join(texts)] if known.commas else texts
            raise ConfigError(
                name,
                f"{source} names code, {shortened(' '.join(texts))}, which runs only if you give "
                f"it again: {' '.join([flag(name, config), *map(shell_word, texts)])}",
            )


def given_values(config: Config) -> dict[str, Any]:
    """Return the values that differ from the defaults."""
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
