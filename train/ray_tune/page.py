"""report.html of many trainings: their networks by accuracy and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.architecture import Architecture
from search_spaces.listed import LIMITS, listed_network
from train.ray_tune.plan import Plan
from train.scored import ERROR_NOTE
from vbs.folder import circumstances
from vbs.page.charts import COLOURS, GREY, Axis, Chart, Limit, Point, Series, chart, scripts
from vbs.page.parts import document, note, section, settings_section, table
from vbs.text import counted, shell_word
from vbs.units import clock

MOST = 150  # most networks that can be selected


def page(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of trainings that have ended.

    rows  of results.json, the best first.
    """
    split = "test" if any(row["test_top1"] is not None for row in rows) else "minival"
    finished = sum(row["status"] == "finished" for row in rows)
    counts = f"{counted(finished, 'training')} of {len(rows)} finished."
    parts = [_table(rows, split), note(f"{counts} {ERROR_NOTE}.")]
    known = [row for row in rows if row[f"{split}_top1"] is not None]
    if known:
        parts.insert(0, chart(_chart(plan, known, split)))
    made = circumstances(("numpy", "torch", "ray"))
    sections = [section("Trainings", *parts), settings_section(plan.config.settings(), made)]
    where = Path(str(plan.config.data)).name
    return document(f"{counted(len(rows), 'training')} on {where}", sections, scripts())


def _chart(plan: Plan, rows: Sequence[Mapping[str, Any]], split: str) -> Chart:
    """Return a chart of accuracy against FLOPs, for finished trainings and others."""
    networks = {trial["name"]: trial["architecture"] for trial in plan.trials}
    listed = [
        listed_network(
            Architecture.from_dict(networks[row["name"]]),
            title=f"{row['name']}: {row[f'{split}_top1']:.2f}%, {row['status']}",
            figures=[(_accuracy(row, split), f"top-1, {split}"), (clock(row["seconds"]), "time")],
            numbers={"accuracy": row[f"{split}_top1"]},
            commands=[f"python -m train.export {shell_word(row['folder'])} --to onnx"],
        )
        for row in rows[:MOST]
    ]
    points: dict[bool, list[Point]] = {True: [], False: []}
    for index, row in enumerate(rows):
        place = index if index < MOST else None
        error = row[f"{split}_error"]
        points[row["status"] == "finished"].append(
            Point(row["flops"] / 1e6, row[f"{split}_top1"], error, place)
        )
    finished = Series("finished", points[True], "circles", COLOURS[0])
    others = Series("not finished", points[False], "crosses", GREY)
    return Chart(
        x=Axis("FLOPs: multiply-adds of one image, in millions"),
        y=Axis(f"top-1 on the {split} images (%)"),
        series=[series for series in (finished, others) if series.points],
        alt=f"Accuracy of {counted(len(rows), 'training')} against FLOPs.",
        networks=listed,
        chosen=0,
        limits=[*LIMITS, Limit("accuracy", "accuracy", "%", most=False)],
    )


def _accuracy(row: Mapping[str, Any], split: str) -> str:
    """Return an accuracy in percent with its binomial error."""
    value, error = row[f"{split}_top1"], row[f"{split}_error"]
    if value is None:
        return "-"
    return f"{value:.2f}%" + ("" if error is None else f" ± {error:.2f}")


def _table(rows: Sequence[Mapping[str, Any]], split: str) -> str:
    heads = ("training", "network", "status", "epochs", f"{split} top-1", "time", "FLOPs", "params")
    return table(
        heads,
        [
            (
                row["name"],
                Path(str(row["network"])).name,
                f"{row['status']}: {row['reason']}" if row["reason"] else row["status"],
                str(row["epochs"]),
                _accuracy(row, split),
                clock(row["seconds"]),
                f"{row['flops']:,}",
                f"{row['params']:,}",
            )
            for row in rows
        ],
    )
