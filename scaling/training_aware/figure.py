"""Figure of a training-aware search: accuracy against training speed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.training_aware.networks import BATCH
from scaling.training_result import Result
from vbs.figure import new_figure, save_png


def draw(path: Path, rows: Mapping[str, Any], known: Mapping[str, Result]) -> None:
    """Draw accuracy against the measured time of a training step."""
    figure = new_figure(7, 4.6)
    axes = figure.add_subplot()
    for name, row in rows.items():
        result = known[name]
        error = 0.0 if math.isnan(result.error) else result.error
        axes.errorbar(
            1e3 * row["step_seconds"],
            result.mean,
            yerr=error,
            xerr=1e3 * row["step_spread"] / 2,
            fmt="o",
            ms=8,
            capsize=3,
            label=f"{name} ({row['params'] / 1e3:,.0f}K params)",
        )
    axes.set(
        xlabel=f"milliseconds of a training step of {BATCH} images, measured",
        ylabel="minival top-1 (%)",
        xlim=(0, None),
        title="Accuracy and training speed",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save_png(figure, path)
