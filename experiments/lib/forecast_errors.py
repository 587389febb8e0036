"""Errors of forecasts of the next member, by series: a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.surrogate_scores import NORMAL_95
from vbs.figure import new_figure, save_png


def forecast_errors(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return errors of the forecasts of each series, and of each kind of series together."""
    kinds = {
        "EfficientNet-B": "efficientnet_b0/",
        "EfficientNet-Lite": "efficientnet_lite0/",
        "EfficientNetV2-B": "efficientnetv2_b0/",
        "ResNet": "resnet50/",
        "ResNet-RS": "resnet_rs50/",
    }
    chosen = {name: [row for row in rows if row["series"] == name] for name in _series(rows)}
    chosen |= {
        kind: [row for row in rows if row["series"].startswith(prefix)]
        for kind, prefix in kinds.items()
    }
    chosen["all"] = list(rows)
    found = []
    for name, part in chosen.items():
        if part:
            error = np.abs([row["error"] for row in part])
            found.append(
                {
                    "series": name,
                    "forecasts": len(part),
                    "mae": round(float(error.mean()), 2),
                    "largest": round(float(error.max()), 2),
                    "inside_95": round(float(np.mean([row["inside_95"] for row in part])), 2),
                }
            )
    return found


def _series(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["series"] for row in rows))


def draw_forecasts(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the forecast of the next member minus the published accuracy, by series."""
    names = _series(rows)
    figure = new_figure(10, 0.32 * len(names) + 1.4)
    panel = figure.subplots()
    panel.axvspan(-1, 1, color="0.93", label="within 1 point")
    for place, name in enumerate(names):
        part = [row for row in rows if row["series"] == name]
        places = place + np.linspace(-0.3, 0.3, len(part)) if len(part) > 1 else np.array([place])
        panel.errorbar(
            [row["error"] for row in part],
            places,
            xerr=[NORMAL_95 * row["std"] for row in part],
            fmt="o",
            markersize=3,
            linewidth=0.7,
            color=f"C{place % 10}",
        )
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.invert_yaxis()
    panel.set(
        title="The next member, forecast from all smaller ones (from 2 on; series held out)",
        xlabel="forecast minus published (points; bars: 95% intervals)",
    )
    panel.legend(loc="lower right", fontsize=8)
    save_png(figure, path)
