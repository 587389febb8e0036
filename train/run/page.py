"""report.html of a training: scores, curves, confusion matrix, mistakes and network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.listed import listed_network
from train.logs import Row, read_curves_csv
from train.record import read_run
from train.scored import ERROR_NOTE, with_error
from vbs.page.charts import COLOURS, Axis, Chart, Point, Series, chart, scripts
from vbs.page.parts import bars, cards, document, image, note, section, settings_section
from vbs.units import clock

CURVES = {  # column -> name, colour
    "train_loss": ("training (augmented)", "#9aa3ad"),
    "val_loss": ("minival", COLOURS[0]),
    "ema_loss": ("minival, averaged weights", COLOURS[1]),
    "val_top1": ("minival", COLOURS[0]),
    "ema_top1": ("minival, averaged weights", COLOURS[1]),
}


def page(folder: Path) -> str:
    """Return the page of the training in a folder, from its files.

    Raises ValueError if the folder contains no training.
    """
    content = read_run(folder).content
    training, outcome = content["training"], content["outcome"]
    settings = content["settings"]
    network = Architecture.from_dict(training["architecture"])
    sections = [
        section("Result", cards(_figures(outcome, network)), *_notes(content)),
        _curves(read_curves_csv(folder)),
        section("The network", bars(listed_network(network, title="").stages)),
        _pictures(folder),
        settings_section(settings, content),
    ]
    where = Path(str(settings["data"])).name
    return document(f"Training of {settings['network']} on {where}", sections, scripts())


def _figures(outcome: Mapping[str, Any], network: Architecture) -> list[tuple[str, str]]:
    """Return (value, label) pairs of scores, costs and time."""
    images, chosen, found = outcome["images"], outcome["chosen"], []
    if outcome.get("test"):
        found.append((with_error(outcome["test"]["top1"], images["test"]), "top-1, test images"))
    if "top1" in chosen:
        found.append(
            (with_error(chosen["top1"], images["minival"]), "top-1, minival (held-out images)")
        )
    own = {what: value for value, what in listed_network(network, title="").figures}
    found += [(own["FLOPs"], "FLOPs"), (own["params"], "params"), (own["input"], "input")]
    found.append((f"{outcome['epochs']}", "epochs"))
    found.append((clock(outcome["seconds"]), "training time"))
    return found


def _notes(content: Mapping[str, Any]) -> list[str]:
    """Return notes on how the training ended and what ± means."""
    outcome, lines = content["outcome"], []
    if content["status"] != "finished":
        lines.append(f"{content['status']}: {outcome['failed']}")
    if outcome["chosen"]:
        kind = "their moving average" if outcome["chosen"]["weights"] == "ema" else "as trained"
        lines.append(f"Weights of epoch {outcome['chosen']['epoch']}, {kind}.")
    lines.append(f"{ERROR_NOTE}.")
    return [note(line) for line in lines]


def _curves(history: Sequence[Row]) -> str:
    """Draw losses and accuracies by epoch, side by side on wide pages."""
    charts = [
        _curve(history, ("train_loss", "val_loss", "ema_loss"), "loss"),
        _curve(history, ("val_top1", "ema_top1"), "top-1 accuracy (%)"),
    ]
    drawn = "".join(f"<div>{chart(each)}</div>" for each in charts if each.series)
    return section("Learning curves", f'<div class="pair">{drawn}</div>') if drawn else ""


def _curve(history: Sequence[Row], names: Sequence[str], label: str) -> Chart:
    series = []
    for name in names:
        known = [(row["epoch"], row.get(name)) for row in history]
        points = [Point(float(x or 0), float(y)) for x, y in known if y is not None]
        if any(math.isfinite(point.y) for point in points):
            series.append(Series(CURVES[name][0], points, "line", CURVES[name][1]))
    values = np.array([point.y for each in series for point in each.points])
    positive = values[np.isfinite(values) & (values > 0)]
    wide = label == "loss" and len(positive) > 0 and bool(positive.max() > 30 * positive.min())
    return Chart(
        x=Axis("epoch", whole=True),
        y=Axis(label, log=wide),
        series=series,
        alt=f"{label} against epochs",
    )


def _pictures(folder: Path) -> str:
    """Return the confusion matrix and the mistakes, if they were drawn."""
    captions = {
        "confusion.png": "Confusion matrix: predictions (columns) for each true class (rows).",
        "mistakes.png": "The mistakes with the highest confidence.",
    }
    there = {name: text for name, text in captions.items() if (folder / name).is_file()}
    drawn = [image(folder / name, text) for name, text in there.items()]
    return section("Predictions", *drawn) if drawn else ""
