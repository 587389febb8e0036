"""The outcomes of all steps as a table."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.lib.gpu_check.process import Row
from vbs.tables import Console, Table


def line_of(row: Row) -> str:
    """Return the outcome of a step as one line."""
    return " ".join(filter(None, (f"{row['name']}: {row['status']}", _said(row))))


def show(rows: Iterable[Row]) -> None:
    """Print a line for each step: outcome, figure, goal, seconds."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for header in ("step", "outcome", "figure", "goal"):
        table.add_column(header)
    table.add_column("seconds", justify="right")
    for row in rows:
        seconds = f"{row['seconds']:.0f}" if row["seconds"] else ""
        table.add_row(row["name"], row["status"], _said(row), row["goal"], seconds)
    Console(piped_width=150).print(table)


def _said(row: Row) -> str:
    """Return the figure, and the reason why there is none or it is incomplete."""
    reason = f"({row['reason']})" if row["reason"] else ""
    return " ".join(filter(None, (row["figure"], reason)))
