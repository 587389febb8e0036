"""Results of many trainings: rows, their ranking, and the printed report."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from train.ray_tune.certainty import certainty
from train.ray_tune.progress import STATUSES, called
from train.ray_tune.result import TuneResult
from train.scored import error_of, with_error
from vbs.command import module_command
from vbs.console import print_err, print_out
from vbs.tables import Console, Table
from vbs.text import csv_cell, next_steps, shell_word
from vbs.units import clock, short

COLUMNS = (
    "name",
    "network",
    "seed",
    "status",
    "epochs",
    "minival_top1",
    "test_top1",
    "seconds",
    "flops",
    "params",
    "reason",
    "folder",
    "minival_error",
    "test_error",
)


def outcome(
    trial: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    ended: Mapping[str, Any] | None,
    images: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a trial's row of the results.

    rows    its learning curve.
    ended   its run.json; None if there is none.
    images  numbers of images, see `train.scored.scored_images`. Errors are binomial and do not
            include differences between seeds.
    """
    tops = [
        row[name] for row in rows for name in ("val_top1", "ema_top1") if row.get(name) is not None
    ]
    result = (ended or {}).get("outcome", {})
    costs = cost(Architecture.from_dict(trial["architecture"]))
    status = ended["status"] if ended else "running" if rows else "waiting"
    top1 = {"minival": max(tops, default=None), "test": (result.get("test") or {}).get("top1")}
    errors = {name: error_of(value, images.get(name)) for name, value in top1.items()}
    return {
        "name": trial["name"],
        "network": trial["network"],
        "seed": trial["recipe"]["seed"],
        "status": status,
        "epochs": len(rows),
        "minival_top1": top1["minival"],
        "test_top1": top1["test"],
        "seconds": rows[-1]["seconds"] if rows else 0.0,
        "flops": costs.flops,
        "params": costs.params,
        "reason": result.get("failed") or "",
        "folder": f"trials/{trial['name']}",
        "minival_error": errors["minival"],
        "test_error": errors["test"],
    }


def ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows, the best first: finished trials by their minival accuracy, then the others."""

    def place(row: dict[str, Any]) -> tuple[int, float]:
        order = ("finished", "stopped", "running", "interrupted", "waiting", "lost", "failed")
        return order.index(row["status"]), -(row["minival_top1"] or row["test_top1"] or 0.0)

    return sorted(rows, key=place)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the results as a CSV table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([csv_cell(row[name]) for name in COLUMNS] for row in rows)


def show_result(result: TuneResult) -> None:
    """Print the final table, lost or interrupted trials, and the next commands."""
    if result.status != "finished":
        print_err(f"train.ray_tune: {result.reason}; --resume continues")
    print_table(result.place, result.trials, status=result.status, images=result.plan.images)
    lost = result.lost
    if lost and result.status == "finished":
        first = f" (the first: {lost[0]['reason']})" if lost[0].get("reason") else ""
        print_err(
            f"train.ray_tune: {len(lost)} of {len(result.trials)} trials were lost{first}; "
            f"--resume --out {shell_word(result.place)} trains them"
        )


def print_table(
    place: str, rows: Sequence[Mapping[str, Any]], *, status: str, images: Mapping[str, Any]
) -> None:
    """Print the final table and the next commands on stdout."""
    console = Console(piped_width=200)
    table = Table(box=None, pad_edge=False)
    for name in (
        "trial",
        "network",
        "status",
        "epochs",
        "minival",
        "test",
        "FLOPs",
        "params",
        "training",
    ):
        left = name in ("trial", "network", "status")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows[:40]:
        table.add_row(
            row["name"],
            called(row["network"]),
            row["status"],
            str(row["epochs"]),
            *(with_error(row[f"{name}_top1"], images.get(name)) for name in ("minival", "test")),
            short(row["flops"]),
            f"{row['params']:,}",
            clock(row["seconds"]),
        )
    console.print(table)
    if len(rows) > 40:
        console.print(f"and {len(rows) - 40} more in results.csv")
    counts = Counter(row["status"] for row in rows)
    summary = ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])
    for line in certainty(rows, images):
        console.print(line)
    results = f"results: {shell_word(place)} (results.json, results.csv, report.html, trials/)"
    print_out("", summary, results, *next_steps(next_commands(place, rows, status)))


def next_commands(place: str, rows: Sequence[Mapping[str, Any]], status: str) -> list[str]:
    """Return the next commands for the trials."""
    words: list[list[str]] = []
    if status != "finished" or any(row["status"] == "lost" for row in rows):
        words.append(["train.ray_tune", "--resume", "--out", place])
    best = rows[0]
    if best["status"] == "finished" and "://" not in place:
        words.append(["train.export", f"{place}/{best['folder']}", "--to", "timm"])
    return [module_command(command) for command in words]
