"""Sphinx extension: pages of modules from their docstrings.

The docstrings of this project are plain text: names in single backticks, descriptions aligned in
columns, indented examples. `to_rst` turns them into reStructuredText in which nothing else is
markup, so that no docstring can break the build. The directive `modules` documents all modules
that match its patterns; patterns that match nothing are skipped, so that a module can be renamed or
moved without an edit here.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("vbs", "search_spaces", "train", "nas", "scaling")
COLUMNS = re.compile(r"(\S.*?)( {2,})(\S.*)")  # "name   description"
TEXT_OF_TUPLES = "Alias for field number"  # docstring that namedtuple generates for each field


def module_names() -> list[str]:
    """Return the names of all modules and packages of the project without importing them."""
    names = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def matching(patterns: Iterable[str]) -> list[str]:
    """Return the modules that match the patterns, in their order; "!pattern" excludes modules."""
    names, found = module_names(), []
    for pattern in patterns:
        if pattern.startswith("!"):
            found = [name for name in found if not fnmatch.fnmatchcase(name, pattern[1:])]
        else:
            found += [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    return [name for name in dict.fromkeys(found) if not name.endswith("__main__")]


class Modules(SphinxDirective):
    """`.. modules:: nas.strategies.* nas.objective`: a section for each module."""

    has_content = False
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        lines = []
        for name in matching(self.arguments[0].split()):
            lines += [name, "-" * len(name), "", f".. automodule:: {name}", "   :members:", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def to_rst(lines: Iterable[str]) -> Iterator[str]:
    """Return the lines of a docstring as reStructuredText."""
    for block in _blocks(lines):
        if block[0].startswith(" "):
            yield from ["::", "", *(f"   {line}" for line in block), ""]
        elif columns := _columns(block):
            for name, text in columns:
                yield from [f"``{name}``", f"   {inline(text)}", ""]
        elif block[0].startswith("- "):
            yield from [*map(inline, block), ""]
        else:
            yield from [inline(" ".join(line.strip() for line in block)), ""]


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Return the groups of lines between blank lines."""
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


def _columns(block: list[str]) -> list[tuple[str, str]]:
    """Return (name, description) of each row; [] if the block does not have two columns."""
    start = COLUMNS.fullmatch(block[0])
    if not start:
        return []
    column = start.start(3)
    rows: list[tuple[str, str]] = []
    for line in block:
        split = COLUMNS.fullmatch(line)
        if line.startswith(" "):  # continues the description above
            name, text = rows.pop()
            rows.append((name, f"{text} {line.strip()}"))
        elif line[column - 1 : column] == " ":  # a name as wide as the column leaves one space
            rows.append((line[:column].rstrip(), line[column:].lstrip()))
        elif split:
            rows.append((split[1], split[3]))
        else:
            return []
    return rows


def inline(text: str) -> str:
    """Return a line in which only `name` in backticks is markup (code)."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an odd backtick: no code
        return re.sub(r"([\\*_|`])", r"\\\1", text)
    for index, part in enumerate(parts):
        escaped = re.sub(r"([\\*_|:])", r"\\\1", part)
        # reST requires a word boundary around code; "\ " is an invisible one, as in "`Stage`s"
        parts[index] = f"\\ ``{part}``\\ " if index % 2 and part.strip() else escaped
    return "".join(parts)


def convert(_app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Replace the lines of a docstring by reStructuredText (autodoc-process-docstring)."""
    lines[:] = list(to_rst(lines))


def skip(_app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out members whose only documentation is generated (autodoc-skip-member)."""
    documentation = getattr(obj, "__doc__", None) or ""
    return True if documentation.startswith(TEXT_OF_TUPLES) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register this extension with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("modules", Modules)
    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
