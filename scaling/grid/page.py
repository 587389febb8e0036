"""HTML report of a grid: the choice, and all candidates with their networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.compound import GREEK
from scaling.grid.config import FIGURE, RECORD
from scaling.grid.verdict import noise_line, prior_line
from search_spaces.architecture import Architecture
from search_spaces.listed import LIMITS, listed_network
from vbs.json_text import parse_json
from vbs.page.charts import COLOURS, Axis, Chart, Point, Series, Style, chart, scripts
from vbs.page.parts import (
    cards,
    document,
    folded,
    image,
    note,
    pm,
    section,
    settings_section,
    table,
)

CAPTION = "Accuracy over the ways to spend the growth; corners are one axis alone."
FEW = 15  # maximum rows of a table that is not collapsed
TRAINED, PREDICTED = "accuracy on held-out images (%)", "predicted gain of top-1 (points)"


def page(folder: Path) -> str:
    """Return the HTML page of the finished grid in a folder."""
    record = parse_json((folder / RECORD).read_bytes())
    title = f"How {Path(str(record['settings']['base'])).stem} should grow"
    sections = [*grid_sections(folder, record), settings_section(record["settings"], record)]
    return document(title, sections, scripts())


def grid_sections(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the choice and the candidates as HTML; `record` is the content of grid.json."""
    outcome, rows = record["outcome"], _known(record)
    figures = [(f"{outcome['chosen'][name]:.3f}", name) for name in GREEK]
    surface = outcome.get("surface")
    lines = [noise_line(surface) or "", prior_line(surface)] if surface else []
    lines += outcome.get("certainty", ())
    notes = [note(f"{line[0].upper()}{line[1:]}") for line in lines if line]
    return [
        section("The choice", cards(figures), *notes),
        section("Candidates", chart(_chart(record, rows)), _table(rows)),
        section("Where the growth goes", image(folder / FIGURE, CAPTION)),
    ]


def _known(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that have a score, best first.

    "score" and "error" are those of the mean accuracy, or of the predicted gain.
    """
    found = []
    for row in record["candidates"]:
        score = row.get("mean", row.get("predicted_gain"))
        if score is not None:
            error = row.get("standard_error", row.get("predicted_gain_std"))
            found.append({**row, "score": score, "error": error})
    return sorted(found, key=lambda row: -row["score"])


def _label(rows: list[dict[str, Any]]) -> str:
    return PREDICTED if any("predicted_gain" in row for row in rows) else TRAINED


def _name(row: Mapping[str, Any]) -> str:
    name: str = row["name"]
    return name if name.startswith("(") else f"{name} alone"


def _score(row: Mapping[str, Any]) -> str:
    if "predicted_gain" in row:
        return f"{row['score']:+.2f} ± {row['error']:.2f}"
    return pm(row["score"], row["error"])


def _chart(record: Mapping[str, Any], rows: list[dict[str, Any]]) -> Chart:
    """Return a chart of score against depth."""
    chosen = tuple(record["outcome"]["chosen"].values())
    networks = [
        listed_network(
            Architecture.from_dict(row["architecture"]),
            title=f"{_name(row)}: {_score(row)}",
            figures=[(_score(row), _label(rows)), (f"{row['growth']:.2f}x", "cost")],
        )
        for row in rows
    ]
    kinds: dict[str, list[Point]] = {"chosen": [], "candidates": [], "one axis alone": []}
    for index, row in enumerate(rows):
        kind = "candidates" if row["name"].startswith("(") else "one axis alone"
        if tuple(row["factors"].values()) == chosen:
            kind = "chosen"
        error = row.get("standard_error")  # errors of predictions are common to all candidates
        kinds[kind].append(Point(row["real_factors"]["depth"], row["score"], error, index))
    styles: dict[str, Style] = {
        "chosen": "diamond",
        "candidates": "circles",
        "one axis alone": "stars",
    }
    return Chart(
        x=Axis("depth, times that of the base"),
        y=Axis(_label(rows)),
        series=[
            Series(kind, points, styles[kind], COLOURS[place])
            for place, (kind, points) in enumerate(kinds.items())
            if points
        ],
        alt="Score of every candidate against its depth.",
        networks=networks,
        chosen=0 if networks else None,
        limits=LIMITS,
    )


def _table(rows: list[dict[str, Any]]) -> str:
    heads = ("(alpha, beta, gamma)", "cost", "depth", "width", "resolution", _label(rows))
    cells = [
        (
            _name(row),
            f"{row['growth']:.2f}x",
            *(f"{factor:.2f}" for factor in row["real_factors"].values()),
            _score(row),
        )
        for row in rows
    ]
    listed = table(heads, cells)
    return listed if len(rows) <= FEW else folded("All candidates", listed)
