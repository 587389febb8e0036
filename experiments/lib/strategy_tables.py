"""Tables of `experiments.compare_strategies`."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.lib.strategy_tasks import BUDGETS, FRONT_MARKS, MARKS
from vbs.accuracy import standard_error

Run = dict[str, Any]
COLUMNS = {"flops": BUDGETS, "device": MARKS, "table": MARKS, "front": FRONT_MARKS}


def summary(runs: list[Run], names: dict[str, list[str]]) -> dict[str, Any]:
    """Return {task: {strategy: {seeds, failed, mark: results}}}; see `row`."""
    return {
        task: {
            name: row([run for run in runs if (run["task"], run["strategy"]) == (task, name)])
            for name in strategies
        }
        for task, strategies in names.items()
    }


def row(runs: list[Run]) -> dict[str, Any]:
    """Return means over the runs of one strategy that did not fail, by mark.

    Accuracy and hypervolume with their standard errors over seeds (None for one seed); the median
    of the milliseconds of a proposal. If some runs lack a mark, because they were made before it
    was recorded, the number of runs that have it is given.
    """
    done = [run for run in runs if "failed" not in run]
    table: dict[str, Any] = {"seeds": len(done), "failed": len(runs) - len(done)}
    for mark in sorted({mark for run in done for mark in run["accuracy"]}, key=int):
        own = [run for run in done if mark in run["accuracy"]]
        accuracy, error = mean_and_error([run["accuracy"][mark] for run in own], 3)
        volume, volume_error = mean_and_error([run["hypervolume"][mark] for run in own], 4)
        table[mark] = {
            "accuracy": accuracy,
            "standard_error": error,
            "hypervolume": volume,
            "hypervolume_error": volume_error,
            "milliseconds": round(float(np.median([r["milliseconds"][mark] for r in own])), 3),
        }
        if len(own) < len(done):
            table[mark]["seeds"] = len(own)
    return table


def mean_and_error(values: list[float], digits: int) -> tuple[float, float | None]:
    """Return mean and standard error, rounded; the error of one value is None."""
    mean = round(float(np.mean(values)), digits)
    if len(values) < 2:
        return mean, None
    return mean, round(standard_error(values), digits)


def markdown(table: dict[str, Any], task: str = "flops") -> str:
    """Return the summary of one task as a Markdown table.

    Accuracy (for the task front: hypervolume) with its standard error by mark, and the milliseconds
    of a proposal at the last mark.
    """
    marks = COLUMNS[task]
    what = ("hypervolume", 4) if task == "front" else ("accuracy", 2)
    lines = [
        "| strategy | seeds | " + " | ".join(f"{mark:,}" for mark in marks) + " | ms |",
        "|---|---|" + "---|" * (len(marks) + 1),
    ]
    for name, figures in table[task].items():
        cells = [figures.get(str(mark)) for mark in marks]
        known = [cell for cell in cells if cell]
        if known:
            shown = [cell_text(cell, *what) if cell else "" for cell in cells]
            shown.append(milliseconds_text(known[-1]["milliseconds"]))
            lines.append(f"| {name} | {figures['seeds']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def cell_text(cell: dict[str, Any], what: str, digits: int) -> str:
    """Return a text such as 66.26 ± .05; without the error if there is one seed."""
    error = cell["standard_error" if what == "accuracy" else "hypervolume_error"]
    text = f"{cell[what]:.{digits}f}"
    return text if error is None else f"{text} ± {f'{error:.{digits}f}'.removeprefix('0')}"


def milliseconds_text(value: float) -> str:
    """Return a time with two digits: 0.47, 13, 3,500."""
    return f"{value:.2g}" if value < 100 else f"{float(f'{value:.2g}'):,.0f}"
