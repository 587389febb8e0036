"""Config files: YAML and JSON files written by users, and the records of runs to resume."""

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

LARGEST = 1 << 20  # bytes of a YAML config file; its parser is slow
LARGEST_RECORD = 1 << 28  # bytes of a JSON config file, such as a record
T = TypeVar("T")


class FileValues(NamedTuple):
    """Options from a file, and whether the file is the record of a run."""

    values: dict[str, Any]
    is_record: bool


def read_values(path: str) -> FileValues:
    """Read the options in a YAML or JSON file.

    The file is a mapping of names to values, or a record with "settings". Raises ValueError with
    the path for anything else.
    """
    if not path:
        raise ValueError("--config: the path is empty")
    try:
        place = Path(path).expanduser()
    except RuntimeError as error:  # "~NAME" of an unknown user
        raise ValueError(
            f"--config: {shortened(path)} is not a valid path ({shortened(error)})"
        ) from None
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
        raise ValueError(f"--config: {shortened(path)} is not a mapping of options to values")
    return FileValues(values, is_record)


def _parse_yaml(content: bytes) -> Any:
    """Return the mappings, lists, texts, true, false and null of a YAML text.

    Raises ValueError, in one line, for anything else. Numbers stay texts, which the options parse
    like those of a command line: YAML would read 0100 as 64 and 1:30 as 90, and a time of 20
    would no longer be recognized as lacking its unit.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML loader that rejects tags, aliases, merges and equal keys, which hide content."""

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
                    raise ValueError(f"the key {quoted(key.value)} appears twice")
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
    """Check the arguments of a run: a new run takes a config, a resumed run takes changes.

    Raises ValueError or TypeError for any other combination.
    """
    if resume and config is not None:
        raise ValueError("config: a resumed run reads its record; pass changes={...} instead")
    if not resume and changes is not None:
        raise ValueError("changes: only a resumed run takes them; change the config instead")
    if changes is not None and not isinstance(changes, Mapping):
        raise TypeError(f"changes: {quoted(changes)} is not a mapping of options to values")
    if not resume and not isinstance(config, kind):
        given = "it is missing" if config is None else f"{quoted(config, 60)} is not one"
        raise TypeError(f"config: a {kind.__name__} is required; {given}")


def resumed(
    config: type[C],
    changes: Mapping[str, Any],
    record: Path,
    *,
    what: str,
    same: Callable[[str, Any, dict[str, Any]], bool] = lambda name, value, stored: False,
) -> C:
    """Return the config of the run that `record` describes, with the given changes.

    changes  converted values of options, see `partial`.
    what     name of the run in messages, such as "search".
    same     function that returns whether a value that differs from the stored one is equivalent.

    Raises ValueError if the record cannot be read, if another version wrote it, or if an option
    cannot change in a resumed run.
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
    """Apply `resumed` to stored values; `record` is the name of their file."""
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
    """Return the converted settings of a record, with defaults for options it does not have."""
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
    """Apply `stored_values` to the parsed content of the file `record`."""
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
    """Build a dataclass from the values that are named like its fields; others are ignored.

    Raises ValueError for a missing value without a default, and for a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{str(values)[:60]!r} is not an object with fields")
    hints, found = typing.get_type_hints(kind), {}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if each.name in values:
            value, hint = values[each.name], hints[each.name]
            parts = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
            fits = isinstance(value, tuple(typing.get_origin(part) or part for part in parts))
            # bool is a subclass of int
            if not fits or isinstance(value, bool) != (hint is bool):
                raise ValueError(f"{each.name}: {str(value)[:60]!r} has the wrong type")
            found[each.name] = value
        elif each.default is each.default_factory is dataclasses.MISSING:
            raise ValueError(f"{each.name} is missing")
    return kind(**found)


def _version_of(content: Mapping[str, Any]) -> str:
    versions = content.get("versions")
    version = versions.get("vision-baseline-search") if isinstance(versions, dict) else None
    return f" ({shortened(version, 20)})" if isinstance(version, str) else ""


def _shown(config: type[Config], name: str, value: Any) -> str:
    """Return a value as it is typed; several values as a list."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return shortened(json.dumps(list(value)), 60)
    text = str(value).lower() if isinstance(value, bool) else value_text(config, name, value)
    return shortened(text.removesuffix(".0"), 60)
