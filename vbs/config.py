"""Configs of commands: frozen dataclasses whose fields are options.

    @dataclass(frozen=True, kw_only=True)
    class SearchConfig(DataOptions, StudyOptions):
        title: ClassVar[str] = "search"
        target_flops: float | None = option(None, help="...", metavar="SIZE", parse=parse_quantity)

Values from a command line, a YAML file, a JSON record and Python are read in the same way. A group
of options is a base class; option names are not nested. A saved config can be read again.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from vbs.plugins import is_reference
from vbs.text import one_of, shell_word, shortened
from vbs.values import LIMITS, TEXTS, ConfigError, Kind, Option, convert, kind_of, number, parts

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "LIMITS",
    "Config",
    "ConfigError",
    "Kind",
    "Option",
    "check_code",
    "code_values",
    "converted",
    "flag",
    "from_values",
    "given_values",
    "groups",
    "kinds",
    "named",
    "named_code",
    "number",
    "option",
    "options",
    "partial",
    "parts",
    "value_text",
]


def option(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """Return a field of a config; the keywords are those of `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(**kwargs)})


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

    def check_files(self) -> None:
        """Raise ValueError for an input file that does not exist; subclasses override this.

        Commands call it before they import torch, which may take half a minute on a busy machine.
        Their functions check the files themselves, because a config may be older than its files.
        """

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
    return {name: kind_of(hints[name]) for name in options(config)}


def flag(name: str, config: type[Config] | None = None) -> str:
    """Return an option as it is typed: --target-flops."""
    known = options(config).get(name) if config is not None else None
    return "--" + ((known.flag if known else "") or name).replace("_", "-")


def converted(config: type[Config], name: str, value: Any) -> Any:
    """Convert the value of a field to its type; raises ConfigError for an invalid value."""
    return convert(name, kinds(config)[name], options(config)[name], value)


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
    """Return the values by field name; the given names may be spelled as on a command line."""
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
