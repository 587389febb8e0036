"""Building blocks of HTML reports: document, sections, tables, notes and images."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vbs.figure import attempt
from vbs.folder import write_whole
from vbs.text import printable

REPORT = "report.html"
STYLE = Path(__file__).with_name("page.css")
LARGE = 300_000  # bytes of a PNG that becomes a JPEG
# forbids the page to load anything, whatever text from a run it contains
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def document(title: str, sections: Sequence[str], scripts: str = "") -> str:
    """Return a whole page; scripts: result of `vbs.page.charts.scripts` for a page with charts."""
    style = STYLE.read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escaped(title)}</title><link rel="icon" href="data:,">'
        f"<style>{style}</style></head><body><main><h1>{escaped(title)}</h1>\n"
        + "\n".join(filter(None, sections))
        + f"\n</main>{scripts}</body></html>\n"
    )


def write_page(folder: Path, page: Callable[[], str]) -> None:
    """Write report.html into a folder; an error is a warning on stderr."""
    attempt(REPORT, lambda: write_whole(folder / REPORT, lambda path: write_text(path, page())))


def write_text(path: Path, page: str) -> None:
    """Write a page into a file in UTF-8."""
    path.write_text(page, encoding="utf-8")


def escaped(text: object, keep: str = "") -> str:
    """Return any text as HTML that displays it; it cannot act on the browser or the page."""
    return html.escape(printable(text, keep=keep))


def section(title: str, *parts: str) -> str:
    """Return a section with a heading; parts are HTML."""
    return f"<section><h2>{escaped(title)}</h2>{''.join(parts)}</section>"


def cards(shown: Sequence[tuple[str, str]]) -> str:
    """Return (value, label) pairs in large print."""
    parts = "".join(
        f'<div class="card"><b>{escaped(value)}</b><span>{escaped(what)}</span></div>'
        for value, what in shown
    )
    return f'<div class="cards">{parts}</div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; heads and cells are plain text."""
    head = "".join(f"<th>{escaped(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escaped(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def settings_section(settings: Mapping[str, Any], made_with: Mapping[str, Any]) -> str:
    """Return the options of a run, collapsed; made_with: see `vbs.folder.circumstances`."""
    rows = [(name, str(value)) for name, value in settings.items() if value not in (None, [], "")]
    known = {name: version for name, version in made_with["versions"].items() if version}
    versions = ", ".join(f"{name} {version}" for name, version in known.items())
    body = folded("All options", table(("option", "value"), rows))
    return section("Settings", body, note(f"{made_with['machine']}; {versions}"))


def folded(title: str, part: str) -> str:
    """Return a part of the page that is collapsed until its title is clicked."""
    return f"<details><summary>{escaped(title)}</summary>{part}</details>"


def note(text: str) -> str:
    """Return a paragraph of plain text in small print."""
    return f'<p class="note">{escaped(text)}</p>'


def picture(figure: Callable[[], Any], caption: str) -> str:
    """Return the matplotlib figure that a function draws, as an SVG inside the page.

    If drawing fails, there is a warning on stderr and a note in place of the figure.
    """
    buffer, text = io.BytesIO(), escaped(caption)
    if not attempt(f"report.html: {caption}", lambda: figure().savefig(buffer, format="svg")):
        return note(f"Could not be drawn: {caption}")
    coded = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{text}" src="data:image/svg+xml;base64,{coded}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def bars(drawn: Sequence[tuple[str, int, str]]) -> str:
    """Return horizontal bars from (CSS colour, width in pixels, text beside the bar) of each."""
    return "".join(
        f'<div class="stage"><div class="bar" style="width:{width}px;background:{colour}"></div>'
        f"<span>{escaped(text)}</span></div>"
        for colour, width, text in drawn
    )


def image(path: Path, caption: str) -> str:
    """Return a PNG file as an image inside the page; a large one is converted to JPEG."""
    if not path.is_file():
        return note(f"Could not be drawn: {caption}")
    kind, content, text = "png", path.read_bytes(), escaped(caption)
    if len(content) > LARGE:
        buffer = io.BytesIO()
        with Image.open(path) as picture:
            picture.convert("RGB").save(buffer, "JPEG", quality=80)
        kind, content = "jpeg", buffer.getvalue()
    coded = base64.b64encode(content).decode()
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{coded}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def pm(accuracy: float, error: float | None) -> str:
    """Return an accuracy in percent as text, with its error unless that is None or NaN."""
    known = error is not None and not math.isnan(error)
    return f"{accuracy:.2f}%" + (f" ± {error:.2f}" if known else "")
