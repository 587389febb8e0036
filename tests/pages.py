"""Test helper: parser of the documentation pages: code blocks, commands, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)


class Block(NamedTuple):
    """A fenced block; `mark` is the comment in the line above it, or ""."""

    page: Path
    line: int
    language: str
    mark: str
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    source = page.read_text()
    return [
        Block(
            page,
            source.count("\n", 0, found.start()) + 1,
            found["language"],
            found["mark"] or "",
            found["text"],
        )
        for found in FENCE.finditer(source)
    ]


def prose(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block, without console output."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    for line in joined.splitlines():
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        words = shlex.split(line, comments=True)
        if words:
            yield words


def written_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every command of a page that names a module, also in the text."""
    for block in blocks(page):
        if block.language in ("sh", "console"):
            for words in commands(block):
                yield from _nested(words)
        if block.mark.startswith("output of: "):
            yield shlex.split(block.mark.removeprefix("output of: "))
    for code in re.findall(r"`(python -m [^`]+)`", prose(page)):
        if not code.endswith("."):  # "python -m experiments." before a column of names
            yield shlex.split(" ".join(code.split()))


def _nested(words: list[str]) -> Iterator[list[str]]:
    """Yield the command and the one that it runs: ray exec CLUSTER 'cd ... && python -m ...'."""
    yield words
    for word in words[1:]:
        for part in word.split("&&"):
            if part.strip().startswith("python -m "):
                yield shlex.split(part)


def links(page: Path) -> list[str]:
    """Return the targets of all links and pictures of a page, except those in code."""
    text = re.sub(r"`[^`\n]*`", "`code`", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub and MyST create them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
