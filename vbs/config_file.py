"""Configs in files: YAML and JSON that a user writes, and records of runs that are resumed."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, NamedTuple, TypeVar

from vbs.config import C, Config, ConfigError, check_code, options, partial, value_text
from vbs.json_text import parse_json
from vbs.text import quoted, shortened

LARGEST = 1 << 20  # bytes of a config file in YAML, whose reader is slow
LARGEST_RECORD = 1 << 28  # bytes of one in JSON, as records are
T = TypeVar("T")


class FileValues(NamedTuple):
    """The options in a file, and whether it is the record of a run."""

    values: dict[str, Any]
    is_record: bool


def read_values(path: str) -> FileValues:
    """The options in a YAML or JSON file: a mapping of names to values, or a record with
    "settings". ValueError, with the path, for anything else."""
    if not path:
        raise ValueError("--config: the path is empty")
    try:
        place = Path(path).expanduser()
    except RuntimeError as error:  # "~NAME" of an unknown user
        raise ValueError(f"--config: {shortened(path)} is no path ({shortened(error)})") from None
    json_file = place.suffix.lower() == ".json"
    largest = LARGEST_RECORD if json_file else LARGEST
    try:
        with place.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ValueError(f"it is larger than {largest:,} bytes")
        values = parse_json(content) if json_file else _parse_yaml(content)
    except OSError as error:
        raise ValueError(f"--config: {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"--config: {shortened(path)}: {error}") from None
    is_record = isinstance(values, dict) and isinstance(values.get("settings"), dict)
    if is_record:
        values = values["settings"]
    if not isinstance(values, dict):
        raise ValueError(f"--config: {shortened(path)} does not hold options and their values")
    return FileValues(values, is_record)


def _parse_yaml(content: bytes) -> Any:
    """The mappings, lists and texts of a YAML text, with true, false and null; ValueError, in one
    line, for what is none.

    Numbers stay texts, which the options read as they do those of a command line: YAML would make
    64 of 0100 and 90 of 1:30, and a time of 20 would lose that it has no unit.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses tags, aliases, merges and equal keys: they hide what a file says."""

        yaml_implicit_resolvers: ClassVar = {
            first: [each for each in known if each[0].rpartition(":")[2] in ("bool", "null")]
            for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it uses a YAML alias")
            if getattr(event, "tag", None) is not None:
                raise ValueError(f"it uses the YAML tag {quoted(event.tag)}")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                    raise ValueError("a key is not a text")
                if key.value in seen:
                    raise ValueError(f"the key {quoted(key.value)} is there twice")
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    try:
        return yaml.load(content, Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "it is not text"
        raise ValueError(f"it is not YAML: {shortened(problem)}{where}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_call(
    kind: type[Config], config: Config | None, *, resume: bool, changes: Mapping[str, Any] | None
) -> None:
    """Raise ValueError or TypeError where a run is not described by its arguments: a new one by a
    config, a resumed one by what changes."""
    if resume and config is not None:
        raise ValueError("config: a resumed run has its own; give what changes as changes={...}")
    if not resume and changes is not None:
        raise ValueError("changes: they are for a run that is resumed; change the config instead")
    if changes is not None and not isinstance(changes, Mapping):
        raise TypeError(f"changes: {quoted(changes)} is not a mapping of options to values")
    if not resume and not isinstance(config, kind):
        given = "is missing" if config is None else f"{quoted(config, 60)} is not one"
        raise TypeError(f"config: a {kind.__name__} is needed; it {given}")


def resumed(
    config: type[C],
    changes: Mapping[str, Any],
    record: Path,
    *,
    what: str,
    same: Callable[[str, Any, dict[str, Any]], bool] = lambda name, value, stored: False,
) -> C:
    """The config of the run that `record` describes, with what may change later.

    changes  options that are given, converted: see `partial`.
    what     the run as messages call it: "search".
    same     whether a value that differs from the stored one means the same.

    ValueError where the record cannot be read, another version wrote it, or a change would make it
    another run.
    """
    stored = stored_values(config, record, what=what)
    return changed(config, stored, changes, record.name, what=what, same=same)


def changed(
    config: type[C],
    stored: Mapping[str, Any],
    changes: Mapping[str, Any],
    record: str,
    *,
    what: str,
    same: Callable[[str, Any, dict[str, Any]], bool] = lambda name, value, stored: False,
) -> C:
    """The same, of the stored values; `record` is the name of their file."""
    changes = partial(config, changes)
    check_code(config, stored, changes, source=record)
    stored, known = dict(stored), options(config)
    for name, value in changes.items():
        before = stored.get(name)
        if known[name].later or value == before or same(name, value, stored):
            continue
        raise ConfigError(
            name,
            f"{_shown(config, name, value)} differs from the {what}'s "
            f"{_shown(config, name, before)}; leave it out, or start a new {what} in another --out",
        )
    later = {name: value for name, value in changes.items() if known[name].later}
    try:
        before = config(**stored)
    except ValueError as error:
        raise ValueError(f"resume: {record}: {error}") from None
    return dataclasses.replace(before, **later)


def stored_values(config: type[Config], record: Path, *, what: str) -> dict[str, Any]:
    """The converted settings of a record; defaults stand for what an earlier version did not
    know."""
    if not record.is_file():
        raise ValueError(
            f"resume: {record.parent} holds no {what} (there is no {record.name} in it)"
        )
    try:
        content = parse_json(record.read_bytes())
        if not isinstance(content["settings"], dict):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"resume: {record} is not the record of a {what}") from None
    return recorded_values(config, content, str(record))


def recorded_values(
    config: type[Config], content: Mapping[str, Any], record: str
) -> dict[str, Any]:
    """The same, of the content of the file `record`."""
    settings = content["settings"]
    unknown = {*settings} - {*options(config)} - {*config.recorded}
    if unknown:
        wrote = _version_of(content)
        raise ValueError(
            f"resume: {record} was written by another version{wrote}: it has the unknown setting "
            f"{quoted(min(unknown))}"
        )
    values = {name: value for name, value in settings.items() if name not in config.recorded}
    try:
        found = partial(config, values)
    except ValueError as error:
        raise ValueError(f"resume: {Path(record).name}: {error}") from None
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    return {name: found.get(name, defaults[name]) for name in options(config)}


def typed(kind: type[T], values: Mapping[str, Any]) -> T:
    """The dataclass made of the values that are named like its fields; others are left out.

    Raises ValueError where one without a default is missing, or has another type than the field.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{str(values)[:60]!r} is no object with fields")
    hints, found = typing.get_type_hints(kind), {}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if each.name in values:
            value, hint = values[each.name], hints[each.name]
            parts = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
            fits = isinstance(value, tuple(typing.get_origin(part) or part for part in parts))
            # a bool is an int to Python
            if not fits or isinstance(value, bool) != (hint is bool):
                raise ValueError(f"{each.name}: {str(value)[:60]!r} is of the wrong kind")
            found[each.name] = value
        elif each.default is each.default_factory is dataclasses.MISSING:
            raise ValueError(f"{each.name} is missing")
    return kind(**found)


def _version_of(content: Mapping[str, Any]) -> str:
    versions = content.get("versions")
    version = versions.get("vision-baseline-search") if isinstance(versions, dict) else None
    return f" ({shortened(version, 20)})" if isinstance(version, str) else ""


def _shown(config: type[Config], name: str, value: Any) -> str:
    """A value as it is typed; several as a list."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return shortened(json.dumps(list(value)), 60)
    text = str(value).lower() if isinstance(value, bool) else value_text(config, name, value)
    return shortened(text.removesuffix(".0"), 60)
