"""HTML report of a training-aware search: networks by accuracy, training speed and params."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.training_aware.config import RECORD
from search_spaces.architecture import Architecture
from search_spaces.cost import split_cost
from search_spaces.listed import LIMITS, listed_network
from vbs.json_text import parse_json
from vbs.page.charts import COLOURS, Axis, Chart, Point, Series, chart, scripts
from vbs.page.parts import document, note, pm, section, settings_section, table
from vbs.units import short_seconds


def page(folder: Path) -> str:
    """Return the HTML page of the training-aware search in a folder."""
    record = parse_json((folder / RECORD).read_bytes())
    sections = [*aware_sections(record), settings_section(record["settings"], record)]
    return document("A training-aware search", sections, scripts())


def aware_sections(record: Mapping[str, Any]) -> list[str]:
    """Return the networks as HTML; `record` is the content of training_aware.json."""
    outcome = record["outcome"]
    rows = {name: _figures(row) for name, row in outcome["networks"].items()}
    label = f"seconds of {_what(outcome)}"
    drawn = chart(_chart(outcome["networks"], rows, label))
    notes = [note(line) for line in outcome.get("certainty", ())]
    return [section("Networks", drawn, _table(outcome["networks"], rows), *notes)]


def _what(outcome: Mapping[str, Any]) -> str:
    """Return a description of the networks' time."""
    if "S" not in outcome:
        return "a training step"
    kind, device = split_cost(outcome["S"])
    return f"an image on {device}, predicted" if kind == "image_time" else "a training, predicted"


def _figures(row: Mapping[str, Any]) -> tuple[float, float | None, float]:
    """Return accuracy in percent, its error, and seconds of a network, measured or predicted."""
    if "step_seconds" in row:
        mean = row.get("mean")
        return math.nan if mean is None else mean, row.get("standard_error"), row["step_seconds"]
    return row["accuracy"], row["accuracy_std"], row["seconds"]


def _chart(
    networks: Mapping[str, Any], rows: Mapping[str, tuple[float, float | None, float]], label: str
) -> Chart:
    listed = [
        listed_network(
            Architecture.from_dict(row["architecture"]),
            title=name,
            figures=[(pm(*rows[name][:2]), "top-1"), (short_seconds(rows[name][2]), label)],
        )
        for name, row in networks.items()
    ]
    series = [
        Series(
            name,
            [Point(rows[name][2], *rows[name][:2], index)],
            "circles",
            COLOURS[index % len(COLOURS)],
        )
        for index, name in enumerate(networks)
    ]
    return Chart(
        x=Axis(label),
        y=Axis("top-1 (%)"),
        series=series,
        alt=f"Accuracy of each network against {label}.",
        networks=listed,
        chosen=0,
        limits=LIMITS,
    )


def _table(
    networks: Mapping[str, Any], rows: Mapping[str, tuple[float, float | None, float]]
) -> str:
    return table(
        ("network", "top-1", "time", "FLOPs", "params"),
        [
            (
                name,
                pm(*rows[name][:2]),
                short_seconds(rows[name][2]),
                f"{row['flops']:,}",
                f"{row['params']:,}",
            )
            for name, row in networks.items()
        ],
    )
