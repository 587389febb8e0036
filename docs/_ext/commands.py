"""Sphinx extension: the command reference, from the configs of the commands.

The extension writes `docs/commands/NAME.rst` for each command of `vbs.programs.COMMANDS` before
Sphinx reads its sources. A page lists the options of the command's config group by group: the help
text, the allowed values, the default, whether a resumed run may change the option, and the other
commands that have it. These pages are not committed. `docs/commands/index.rst` is committed, and
the directive `command-table` fills it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docstrings
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vbs.config import LIMITS, Config, Option, flag, groups, kinds, options, value_text
from vbs.options import Command, load, usage_words
from vbs.programs import COMMANDS
from vbs.units import parse_quantity, parse_rate, parse_seconds

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "commands"
# guides that explain the commands, beside docs/commands
GUIDES = {
    "search": "architecture-search",
    "show": "quickstart",
    "compare": "architecture-search",
    "fidelity": "architecture-search",
    "device": "devices",
    "device kit": "devices",
    "device fit": "devices",
    "grid": "scale",
    "family": "scale",
    "training-aware": "scale",
    "baseline": "scale",
    "train": "train",
    "train-many": "cluster",
    "noisy-student": "train",
    "export": "deploy",
    "predict": "train",
    "report": "quickstart",
    "doctor": "quickstart",
}
# function that parses an option -> description of its values
PARSED: dict[Any, str] = {
    parse_quantity: "a number such as 400M, 0.4G or 4e8",
    parse_seconds: "a time such as 20ms, 1.5s, 30min or 2h",
    parse_rate: "images/s such as 12K or 12000",
}
# metavar of an option -> description of its values
METAVARS = {
    "PX": "pixels",
    "EPOCHS": "epochs",
    "SHARE": "a share",
    "DIR": "path of a folder",
    "FILE": "path of a file",
    "PATH": "a path",
    "SIZE": "a number such as 400M, 0.4G or 4e8",
    "TIME": "a time such as 20ms, 1.5s, 30min or 2h",
}


def inline(text: str) -> str:
    """Return a line of plain text as reStructuredText, with options as code."""
    if "`" not in text:
        text = re.sub(r"(?<![\w-])--[a-z][\w-]*", r"`\g<0>`", text)
    return docstrings.inline(text)


def sentence(text: str) -> str:
    """Return the text with a full stop, and with a capital unless its first word is a name."""
    first = text.partition(" ")[0].rstrip(",;:")
    start = text[0].upper() if first.isalpha() and first.islower() else text[0]
    return start + text[1:] + ("" if text.endswith(".") else ".")


def page_name(name: str) -> str:
    """Return the name of a command's page: "device-kit" for "device kit"."""
    return name.replace(" ", "-")


@functools.cache
def command(name: str) -> Command:
    """Return the command that `vbs NAME` runs."""
    found: Command = load(f"{COMMANDS[name].program}.config:COMMAND")
    return found


@functools.cache
def commands_with(typed: str) -> tuple[str, ...]:
    """Return the commands that have the option `typed`, such as "--budget"."""
    return tuple(
        name
        for name in COMMANDS
        for field in options(command(name).config)
        if field not in command(name).positional and flag(field, command(name).config) == typed
    )


def page(name: str) -> str:
    """Return the page of a command as reStructuredText."""
    found = command(name)
    guide = GUIDES[name]
    title = f"vbs {name}"
    words = " ".join(usage_words(found))
    lines = [
        title,
        "=" * len(title),
        "",
        inline(found.description),
        "",
        ".. code-block:: sh",
        "",
        f"   vbs {name} {words}",
        f"   python -m {found.program} {words}",
        "",
        f"Guide: :doc:`/{guide}`.",
        "",
    ]
    for paragraph in found.epilog.split("\n\n"):
        lines += [inline(" ".join(paragraph.split())), ""]
    lines += [f".. program:: vbs {name}", ""]
    for group, names in groups(found.config):
        lines += [*_heading(group), *(line for each in names for line in _option(name, each))]
    return "\n".join([*lines, *_heading("run"), *_run_options(found)]) + "\n"


def _heading(title: str) -> list[str]:
    title = title[0].upper() + title[1:]
    return [title, "-" * len(title), ""]


def _option(name: str, field: str) -> Iterator[str]:
    """Return the entry of one option."""
    found = command(name)
    known, config = options(found.config)[field], found.config
    yield from _signature(found, field)
    yield from (f"   {inline(sentence(known.help))}", "")
    yield "   :Values: " + inline(values_text(config, field))
    yield "   :Default: " + inline(default_text(config, field))
    if found.record and found.resumable:
        text = "may change it" if known.later else "keeps it"
        yield "   :Resumed run: " + text
    others = [each for each in commands_with(flag(field, config)) if each != name]
    if others and field not in found.positional:
        yield "   :Also in: " + ", ".join(f":doc:`{each} <{page_name(each)}>`" for each in others)
    if known.old:
        yield "   :Earlier name: " + inline(", ".join(f"`{each}`" for each in known.old))
    yield ""


def _signature(found: Command, field: str) -> list[str]:
    known, kind = options(found.config)[field], kinds(found.config)[field]
    value = known.metavar or ("NAME" if known.catalog else field.upper())
    value = value.replace("_", "-")
    if field in found.positional:
        return [f".. option:: {value}{' ...' if kind.many else ''}", ""]
    typed = flag(field, found.config)
    if kind.base is bool:
        other = f", --no-{typed.removeprefix('--')}" if kind.optional else ""
        return [f".. option:: {typed}{other}", ""]
    return [f".. option:: {typed} {value}{' ...' if known.many else ''}", ""]


def _run_options(found: Command) -> Iterator[str]:
    """Yield the options that every command has, and the switches of this command."""
    rows = {
        "--config FILE": "Options from a YAML or JSON file, or from the record of an earlier run; "
        "options of the command line override it."
    }
    if found.record:
        rows["--out DIR"] = (
            f"Folder for the results (default: a new `runs/{found.kind}-N`). "
            f"The settings are recorded in `{found.record}`."
        )
    if found.record and found.resumable:
        rows["--resume"] = f"Resume the {found.noun} in `--out`."
    rows |= {flag(name): sentence(text) for name, text in found.switches.items()}
    for typed, text in rows.items():
        yield from (f".. option:: {typed}", "", f"   {inline(text)}", "")


def values_text(config: type[Config], field: str) -> str:
    """Return the type of an option with its unit, its range or its names."""
    known, kind = options(config)[field], kinds(config)[field]
    text = _one_value(config, field, known)
    if kind.many:
        return f"{text}; several after one flag" if known.many else f"{text}; can be repeated"
    return text


def _one_value(config: type[Config], field: str, known: Option) -> str:
    base = kinds(config)[field].base
    if base is bool:
        return "a switch"
    if known.catalog:
        names = ", ".join(f"`{each}`" for each in known.catalog)
        return f"{names}, or code of your own: `package.module:Name` or `path/to/file.py:Name`"
    if known.choices:
        return ", ".join(f"`{each}`" for each in known.choices)
    if re.fullmatch(r"[a-z0-9_]+(\|[a-z0-9_]+)+", known.metavar):
        return ", ".join(f"`{each}`" for each in known.metavar.split("|"))
    text = PARSED.get(known.parse) or METAVARS.get(known.metavar, "")
    if base is str:
        return text or f"text: `{known.metavar or field.upper()}`"
    number = "a whole number" if base is int else "a number"
    if text == METAVARS["PX"] or text == METAVARS["EPOCHS"]:
        text = f"{number} of {text}"
    return (text or number) + _range(config, field, known)


def _range(config: type[Config], field: str, known: Option) -> str:
    """Return the limits of a number, as `vbs.config` checks them."""
    low, high = known.limits if known.limits[0] > -math.inf else LIMITS.get(field, known.limits)
    if known.parse in PARSED or low == -math.inf:
        return ""  # sizes and times are above 0
    least, most = (f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (low, high))
    return f", {least} or more" if high >= 10**9 else f" from {least} to {most}"


def default_text(config: type[Config], field: str) -> str:
    """Return the default as typed, or a phrase if it is None or the option is required."""
    default = next(each.default for each in dataclasses.fields(config) if each.name == field)
    if default is dataclasses.MISSING:
        return "none; the option is required"
    if default is None or default == ():
        said = re.search(r"(?:^|\(|; )default:? ([^()]+)", options(config)[field].help)
        return said[1] if said else "not set"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return f"`{' '.join(map(str, default))}`"
    if isinstance(default, float) and options(config)[field].parse not in PARSED:
        return f"`{default:g}`"
    return f"`{value_text(config, field, default)}`"


class CommandTable(SphinxDirective):
    """`.. command-table::`: a table of all commands, and their entries in the contents."""

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "   :header-rows: 1", "", "   * - command", "     - task"]
        for name, entry in COMMANDS.items():
            place = f":doc:`vbs {name} </commands/{page_name(name)}>`"
            lines += [f"   * - {place}", f"     - {inline(entry.help)}"]
        lines += ["", ".. toctree::", "   :hidden:", ""]
        lines += [f"   vbs {name} </commands/{page_name(name)}>" for name in COMMANDS]
        return self.parse_text_to_nodes("\n".join(lines))


class SharedOptions(SphinxDirective):
    """`.. shared-options::`: a table of the options that several commands have."""

    def run(self) -> list[nodes.Node]:
        typed = sorted(
            {
                flag(field, command(name).config)
                for name in COMMANDS
                for field in options(command(name).config)
                if field not in command(name).positional
            }
        )
        lines = [".. list-table::", "   :header-rows: 1", "", "   * - option", "     - commands"]
        for each in typed:
            names = commands_with(each)
            if len(names) > 1:
                links = ", ".join(f":doc:`{name} </commands/{page_name(name)}>`" for name in names)
                lines += [f"   * - ``{each}``", f"     - {links}"]
        return self.parse_text_to_nodes("\n".join(lines))


def write_pages(_app: Sphinx | None = None) -> None:
    """Write the pages that have changed (builder-inited)."""
    for name in COMMANDS:
        place, text = FOLDER / f"{page_name(name)}.rst", page(name)
        if not place.exists() or place.read_text(encoding="utf-8") != text:
            place.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register this extension with Sphinx."""
    app.add_directive("command-table", CommandTable)
    app.add_directive("shared-options", SharedOptions)
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
