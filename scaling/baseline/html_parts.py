"""Parts of a page in HTML that needs nothing beside it: tables, notes, pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vbs.figure import attempt
from vbs.text import printable

STYLE = """
:root { color-scheme: light; --line: #d9dee5; --soft: #5b6472; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f9; color: #1c2330;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 8px 0; }
h2 { font-size: 1.2rem; margin: 0 0 12px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px;
          padding: 18px; margin: 18px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
.card b { display: block; font-size: 1.25rem; }
.card span, p.note, figcaption { color: var(--soft); font-size: .88rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; min-width: 100%; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line);
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0; } img, svg { max-width: 100%; height: auto; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 18px; }
.stage { display: flex; align-items: center; gap: 8px; margin: 4px 0; font-size: .82rem; }
.bar { height: 22px; border-radius: 4px; flex: none; }
pre { background: #10151f; color: #e6edf3; padding: 12px; border-radius: 8px; overflow-x: auto;
      font-size: .82rem; white-space: pre-wrap; word-break: break-all; }
"""


def document(title: str, sections: Sequence[str]) -> str:
    """The whole page."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escaped(title)}</title><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><main><h1>{escaped(title)}</h1>\n"
        + "\n".join(filter(None, sections))
        + "\n</main></body></html>\n"
    )


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


def image(path: Path, caption: str) -> str:
    if not path.is_file():
        return note(f"Could not be drawn: {caption}")
    coded = base64.b64encode(path.read_bytes()).decode()
    text = escaped(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{coded}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def pm(accuracy: float, error: float | None) -> str:
    """An accuracy in percent with its error, where that is known."""
    return f"{accuracy:.2f}%" + ("" if error is None else f" ± {error:.2f}")
