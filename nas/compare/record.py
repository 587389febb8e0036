"""Record of a comparison of strategies, and its other files."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.compare.comparison import SearchComparison, marks
from nas.compare.config import FIGURE, RECORD, TABLE, CompareConfig
from nas.compare.page import page
from nas.compare.result import CompareResult
from vbs.config import ConfigError
from vbs.config_file import resumed, stored_values
from vbs.figure import draw_picture
from vbs.folder import circumstances, write_json, write_whole
from vbs.json_text import parse_json
from vbs.lock import FILE as LOCK
from vbs.page.parts import write_page
from vbs.text import csv_cell, quoted, shell_word

OVER = ("finished", "exhausted", "out of time")  # statuses of searches that ended by themselves
# columns of comparison.csv; behind: mean of the best group minus that of this group
COLUMNS = (
    *("evaluations", "group", "searches", "mean", "low", "high"),
    *("behind", "behind_low", "behind_high"),
)


def check_unused(folder: Path, config: CompareConfig) -> None:
    """Raise ValueError if a folder contains files that do not belong to a comparison."""
    if not folder.is_dir() or (folder / RECORD).exists():  # results_folder reports a comparison
        return
    own = {LOCK, *(() if config.searches else (each.folder for each in config.planned()))}
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    others = sorted(set(names) - own)
    if others:
        raise ValueError(
            f"out: {folder} contains {quoted(others[0], 60)}, which is no part of a comparison; "
            "use another --out"
        )


def read_earlier(folder: Path, changes: Mapping[str, Any]) -> CompareConfig:
    """Return the options of the comparison in a folder, with changes.

    Raises ValueError if there is none, or if an option changes that must stay.
    """
    config = resumed(CompareConfig, changes, folder / RECORD, what="comparison")
    known = stored_values(CompareConfig, folder / RECORD, what="comparison")["strategies"]
    if not {*known} <= {*config.strategies}:
        every = ",".join(dict.fromkeys([*known, *config.strategies]))
        raise ConfigError(
            "strategies",
            f"a resumed comparison keeps its strategies; use --strategies {shell_word(every)}",
        )
    return config


def is_over(folder: Path, config: CompareConfig) -> bool:
    """Return whether the search in a folder has ended, with at least the budget of the config."""
    try:
        content = parse_json((folder / "search.json").read_bytes())
        status, budget = content["status"], content["settings"]["budget"]
        return status in OVER and (status != "finished" or budget >= config.budget)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write(folder: Path, config: CompareConfig, status: str, **outcome: Any) -> None:
    """Write comparison.json with everything that repeats the comparison, and its outcome."""
    write_json(
        folder / RECORD,
        {
            "status": status,
            "settings": config.settings(),
            "outcome": outcome,
            **circumstances(("numpy", "scipy", "optuna", "torch")),
        },
    )


def finish(result: CompareResult) -> None:
    """Write the record, the table, the figure and the page of a finished comparison."""
    folder, comparison = result.folder, result.comparison
    rows = table_rows(comparison)
    write_whole(folder / TABLE, lambda path: _write_table(path, rows))
    write(
        folder,
        result.config,
        "finished",
        evaluations=comparison.evaluations,
        seconds=round(result.seconds, 2),
        table=[dict(zip(COLUMNS, map(_plain, row), strict=True)) for row in rows],
        searches={name: list(map(str, each)) for name, each in result.searches.items()},
    )
    draw_picture(folder / FIGURE, comparison.plot)
    write_page(folder, lambda: page(result, circumstances(("numpy", "scipy"))))


def table_rows(comparison: SearchComparison) -> list[tuple[Any, ...]]:
    """Return the rows of comparison.csv: one for each group after some numbers of evaluations."""
    rows: list[tuple[Any, ...]] = []
    for after in marks(comparison.evaluations):
        order = comparison.ranked(after=after)
        for name in order:
            behind: tuple[float | None, ...] = (None, None, None)
            if name != order[0]:
                behind = tuple(comparison.difference(order[0], name, after=after))
            found = comparison.best(name, after=after)
            rows.append((after, name, len(comparison.curves[name]), *found, *behind))
    return rows


def _write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([csv_cell(_rounded(_plain(value))) for value in row] for row in rows)


def _plain(value: Any) -> Any:
    """Return the value; None for NaN, which JSON lacks."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _rounded(value: Any) -> Any:
    return f"{value:.6f}" if isinstance(value, float) else value
