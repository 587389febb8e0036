"""Printed report of a comparison of strategies."""

from __future__ import annotations

import math
from pathlib import Path

import rich.box

from nas.compare.comparison import ALONE, SearchComparison, marks
from nas.compare.config import COMMAND, FIGURE, RECORD, TABLE, CompareConfig
from nas.compare.result import CompareResult
from vbs import command
from vbs.config import code_values
from vbs.console import print_out, print_results
from vbs.options import option_words
from vbs.page.parts import REPORT
from vbs.tables import Console, Table
from vbs.text import counted, shortened

HEADING = "mean best reward with 95% interval after a number of evaluations"
LONGEST_NAME = 40  # characters of a group in tables
MOST_LISTED = 6  # most searches in a suggested command


def show_result(result: CompareResult) -> None:
    """Print the table, the difference of the best two groups, and the files."""
    print_out(f"{HEADING}:")
    console = Console(piped_width=130)
    table = Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    narrow = console.width < 130
    heads, rows = table_of(result.comparison, columns=2 if narrow else 4)
    for head in heads:
        table.add_column(head, justify="left" if head == heads[0] else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    print_out(*conclusions(result))
    folders = [str(each) for group in result.searches.values() for each in group]
    steps = (
        [command.module_command(["scaling.report", *folders])]
        if len(folders) <= MOST_LISTED
        else []
    )
    print_results(result.folder, (RECORD, TABLE, FIGURE, REPORT), steps)


def table_of(
    comparison: SearchComparison, *, columns: int = 4
) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of the table, the best group first.

    columns  most numbers of evaluations that are shown.
    """
    steps = marks(comparison.evaluations)[-columns:]
    rows = [
        [
            shortened(name, LONGEST_NAME),
            str(len(comparison.curves[name])),
            *(str(comparison.best(name, after=step)) for step in steps),
        ]
        for name in comparison.ranked()
    ]
    return ["strategy", "searches", *(f"{step:,}" for step in steps)], rows


def conclusions(result: CompareResult) -> list[str]:
    """Return lines on the difference of the best two groups, and on searches that ended early."""
    comparison = result.comparison
    lines = []
    order = comparison.ranked()
    if len(order) > 1:
        lines.append(_ahead(comparison, *order[:2]))
    else:
        lines.append(ALONE)
    return [*lines, *comparison.notes]


def _ahead(comparison: SearchComparison, first: str, second: str) -> str:
    """Return a sentence on the difference of the best two groups."""
    found = comparison.difference(first, second)
    names = [shortened(name, LONGEST_NAME) for name in (first, second)]
    after = f"after {counted(comparison.evaluations, 'evaluation')}"
    if math.isnan(found.mean):
        return f"{after}, not every search of {names[0]} and {names[1]} has a successful one"
    if found.mean == 0:
        return f"{after}, the means of {names[0]} and {names[1]} are equal"
    text = f"{after}, {names[0]} is above {names[1]} by"
    if math.isnan(found.low):
        return f"{text} {found}; an interval needs two or more searches of each"
    kind = comparison.kind(first, second)
    if found.low > 0:
        return f"{text} {found}, {kind}"
    return f"{text} {found}, {kind}: the interval contains 0, so the difference is not significant"


def resume_command(folder: Path, config: CompareConfig) -> str:
    """Return the command that resumes a comparison; options that name code are given again."""
    words = option_words(CompareConfig, code_values(config))
    return command.resume_command(COMMAND.program, folder, words)
