"""The figure of forecasts within published families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.surrogate_scores import NORMAL_95
from vbs.figure import new_figure, save_png


def series_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the series, in order."""
    return list(dict.fromkeys(row["series"] for row in rows))


def draw_forecasts(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Forecast of the next member minus what was published, by series."""
    names = series_of(rows)
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
