"""Common style of the figures of a training run: size, title, names of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vbs.figure import new_figure, save_png
from vbs.folder import write_whole
from vbs.text import printable

BLUE, ORANGE, GREEN, RED, GREY = "#1f5fa8", "#e07b00", "#2a8a43", "#c62828", "0.45"


def shorten(name: str, length: int) -> str:
    """Shorten a name to `length` characters in the middle; names often differ at the end."""
    if len(name) <= length:
        return name
    tail = (length - 1) // 3
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def one_line(text: str) -> str:
    """Return one line of printable characters; file names may contain others."""
    return " ".join(printable(text).split())


def figure_of(width: float, height: float, *, constrained: bool = True) -> Any:
    """Return a new figure of width x height inches."""
    return new_figure(width, height, dpi=120, layout="constrained" if constrained else "none")


def head(figure: Any, title: str, summary: str) -> None:
    """Write a title and a summary above a figure."""
    figure.suptitle(
        f"{shorten(one_line(title), 90)}\n{summary}".strip(), fontsize=11, parse_math=False
    )


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG and clear it."""
    write_whole(path, lambda unfinished: save_png(figure, unfinished))
    figure.clear()  # breaks reference cycles that would keep the images until the next gc
