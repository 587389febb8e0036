"""Parts of a page in HTML that needs nothing beside it: tables, notes, pictures."""

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
# nothing is loaded from anywhere, whatever text of a run the page shows
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def document(title: str, sections: Sequence[str], scripts: str = "") -> str:
    """The whole page; scripts: what `vbs.page.charts.scripts` gives, for a page with charts."""
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
    """Write report.html in a folder; one that cannot be made is a warning."""

    attempt(REPORT, lambda: write_whole(folder / REPORT, lambda path: write_text(path, page())))


def write_text(path: Path, page: str) -> None:
    """Write a page into a file."""
    path.write_text(page, encoding="utf-8")


def escaped(text: object, keep: str = "") -> str:
    """Any text as HTML that shows it; no character of it acts on the browser or the page."""
    return html.escape(printable(text, keep=keep))


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{escaped(title)}</h2>{''.join(parts)}</section>"


def cards(shown: Sequence[tuple[str, str]]) -> str:
    """Figures in large print, each with what it is."""
    parts = "".join(
        f'<div class="card"><b>{escaped(value)}</b><span>{escaped(what)}</span></div>'
        for value, what in shown
    )
    return f'<div class="cards">{parts}</div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escaped(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escaped(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def settings_section(settings: Mapping[str, Any], made_with: Mapping[str, Any]) -> str:
    """The options of a run that are set, folded away; made_with: of `vbs.folder.circumstances`."""
    rows = [(name, str(value)) for name, value in settings.items() if value not in (None, [], "")]
    known = {name: version for name, version in made_with["versions"].items() if version}
    versions = ", ".join(f"{name} {version}" for name, version in known.items())
    body = folded("All options", table(("option", "value"), rows))
    return section("Settings", body, note(f"{made_with['machine']}; {versions}"))


def folded(title: str, part: str) -> str:
    """A part of the page that a click on its title opens."""
    return f"<details><summary>{escaped(title)}</summary>{part}</details>"


def note(text: str) -> str:
    return f'<p class="note">{escaped(text)}</p>'


def picture(figure: Callable[[], Any], caption: str) -> str:
    """What a function draws with matplotlib, inside the page as a drawing that stays sharp.

    A drawing that fails is a warning on stderr, and a note in its place.
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
    """Horizontal bars: (CSS colour, width in pixels, text beside it) of each."""
    return "".join(
        f'<div class="stage"><div class="bar" style="width:{width}px;background:{colour}"></div>'
        f"<span>{escaped(text)}</span></div>"
        for colour, width, text in drawn
    )


def image(path: Path, caption: str) -> str:
    """A PNG file inside the page; a large one, of photographs, as a JPEG."""
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
