"""Tables and consoles of rich that never interpret text as markup or emoji codes."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console as RichConsole
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from vbs.console import Stream, encodable
from vbs.text import printable

UNLIMITED = 100_000  # columns


class Table(RichTable):
    """A rich table in which every cell and header is one line of printable text."""

    def add_column(self, header: Any = "", *more: Any, **options: Any) -> None:
        super().add_column(_line(header), *more, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*map(_line, cells), **options)


def _line(shown: Any) -> Any:
    return printable(shown) if isinstance(shown, str) else shown


class Console(RichConsole):
    """A rich console on stdout or stderr that prints every text literally, escaped if needed.

    piped_width  columns if the output is not a terminal; None: determined by rich.

    Tables are never truncated; the lines of a table wider than the terminal wrap.
    """

    def __init__(self, *, stderr: bool = False, piped_width: int | None = None) -> None:
        stream: Any = Stream(sys.stderr if stderr else sys.stdout)
        super().__init__(
            file=stream,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=not stderr,
        )
        if piped_width is not None and not self.is_terminal:
            self.width = piped_width

    def render_str(self, text: str, **options: Any) -> Text:
        """Render the escaped text; rich calls this for every string, also in tables."""
        shown = encodable(printable(text, keep="\n"), self.encoding)
        return super().render_str(shown, **{**options, "markup": False, "emoji": False})

    def print(self, *objects: Any, **options: Any) -> None:
        """Print each text as a line, and each table at the width of its content."""
        before = self.width
        room = self.options.update(max_width=UNLIMITED)
        tables = [each for each in objects if isinstance(each, RichTable)]
        self.width = max([before, *(Measurement.get(self, room, each).maximum for each in tables)])
        try:
            super().print(*map(_line, objects), **{"sep": "\n", **options})
        finally:
            self.width = before
