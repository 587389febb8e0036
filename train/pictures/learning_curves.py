"""Learning curves: losses, accuracies and the schedule by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.logs import Row
from train.pictures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    figure_of,
    head,
    save,
)
from vbs.units import clock

LINES = {  # curve -> colour, name in the legend, panel
    "train_loss": (GREY, "training (augmented)", "loss"),
    "val_loss": (BLUE, "validation", "loss"),
    "ema_loss": (ORANGE, "validation, averaged weights (EMA)", "loss"),
    "val_top1": (BLUE, "validation", "accuracy"),
    "ema_top1": (ORANGE, "validation, averaged weights (EMA)", "accuracy"),
}


def curves(path: Path, history: Sequence[Row], title: str) -> None:
    """Draw loss, top-1 accuracy and schedule against epochs; an empty figure without rows.

    Epochs, unlike seconds, are not affected by interruptions or the load of the machine. The time
    is in the title. The first loss that is not a number is marked.
    """
    epochs = np.array([_value(row, "epoch", index + 1) for index, row in enumerate(history)])
    schedule = bool(np.isfinite(_column(history, "lr")).any())
    figure = figure_of(8, 7.6 if schedule else 6.4)
    heights = [3, 3, 1.3] if schedule else [3, 3]
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for panel, name in zip(panels, ("loss", "accuracy"), strict=False):
        for key, (colour, label, where) in LINES.items():
            if where == name:
                _line(panel, epochs, history, key, color=colour, label=label)
        _finish(panel, epochs, history)
    _loss_scale(panels[0])
    panels[1].set_ylabel("top-1 accuracy in percent")
    _mark_best(panels[1], epochs, history)
    if schedule:
        _schedule(panels[2], epochs, history)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    if len(epochs) <= 1:
        panels[-1].set_xlim(epochs.sum() - 1, epochs.sum() + 1)
    head(figure, title, _summary(epochs, history))
    save(figure, path)


def _value(row: Row, name: str, default: float = math.nan) -> float:
    value = row.get(name)
    return default if value is None else float(value)


def _column(history: Sequence[Row], name: str) -> np.ndarray:
    return np.array([_value(row, name) for row in history], float)


def _line(panel: Any, epochs: np.ndarray, history: Sequence[Row], key: str, **style: Any) -> None:
    """Draw a curve over the epochs in which it was measured; NaN gives a gap."""
    measured = np.array([row.get(key) is not None for row in history], bool)
    values = _column(history, key)[measured]
    values[~np.isfinite(values)] = np.nan
    if not np.isfinite(values).any():
        return
    # without a marker, a single point between gaps would not be visible
    few = np.isfinite(values).sum() <= 40
    panel.plot(epochs[measured], values, marker="o" if few else None, ms=3.5, lw=1.6, **style)


def _finish(panel: Any, epochs: np.ndarray, history: Sequence[Row]) -> None:
    """Add grid, legend, and a mark where the training loss stopped being a number."""
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    known = np.array([row.get("train_loss") is not None for row in history], bool)
    broken = epochs[known & ~np.isfinite(_column(history, "train_loss"))]
    if len(broken):
        panel.axvline(broken[0], c=RED, ls="--", lw=1.2, label="the loss is not a number")
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize=9, loc="best")
    else:
        panel.set_yticks([])
        panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color=GREY)


def _loss_scale(panel: Any) -> None:
    """Use a logarithmic axis if the losses span more than a factor of thirty."""
    curves = [np.asarray(line.get_ydata(), float) for line in panel.lines if line.get_ls() == "-"]
    values = np.concatenate([*curves, np.empty(0)])
    values = values[np.isfinite(values)]
    panel.set_ylabel("loss")
    if len(values) and 0 < 30 * values.min() < values.max():
        panel.set(yscale="log", ylabel="loss (logarithmic)")


def _best(epochs: np.ndarray, history: Sequence[Row]) -> tuple[float, float, str] | None:
    """Return epoch, accuracy and key of the best validation, the first of ties; None if none."""
    found = None
    for key in ("val_top1", "ema_top1"):
        values = _column(history, key)
        if np.isfinite(values).any():
            index = int(np.nanargmax(np.where(np.isfinite(values), values, np.nan)))
            if found is None or values[index] > found[1]:
                found = (float(epochs[index]), float(values[index]), key)
    return found


def _mark_best(panel: Any, epochs: np.ndarray, history: Sequence[Row]) -> None:
    best = _best(epochs, history)
    if best is None:
        return
    panel.plot(best[0], best[1], "o", ms=9, mfc="none", mec=LINES[best[2]][0], mew=1.6)
    bottom, top = panel.get_ylim()
    panel.set_ylim(bottom, top + 0.12 * (top - bottom))  # space for the label
    late = best[0] > epochs.mean()
    panel.annotate(
        f"{best[1]:.2f}%",
        best[:2],
        (-6 if late else 6, 8),
        fontsize=9,
        textcoords="offset points",
        ha="right" if late else "left",
        color=LINES[best[2]][0],
    )


def _schedule(panel: Any, epochs: np.ndarray, history: Sequence[Row]) -> None:
    """Draw the learning rate, and the image size on a second axis if it changes."""
    rate, side = _column(history, "lr"), _column(history, "resolution")
    panel.plot(epochs, rate, c=GREEN, lw=1.6, marker="o" if len(rate) <= 40 else None, ms=3)
    panel.set_ylabel("learning rate", color=GREEN)
    panel.set_ylim(0, 1.15 * np.nanmax(np.where(np.isfinite(rate), rate, 0)) or 1)
    panel.ticklabel_format(axis="y", scilimits=(-2, 3))
    panel.grid(alpha=0.25)
    panel.spines["top"].set_visible(False)
    sizes = np.unique(side[np.isfinite(side)])
    if len(sizes) < 2:
        panel.spines["right"].set_visible(False)
        return
    second = panel.twinx()
    second.step(epochs, side, where="mid", c=RED, lw=1.4)
    second.set_ylabel("image size, px", color=RED)
    second.set_ylim(0, 1.15 * sizes[-1])
    second.spines["top"].set_visible(False)


def _summary(epochs: np.ndarray, history: Sequence[Row]) -> str:
    """Return a one-line summary of the training."""
    parts = [f"{len(history)} epoch{'' if len(history) == 1 else 's'}"]
    seconds = _column(history, "seconds")
    if np.isfinite(seconds).any():
        parts[0] += f" in {clock(float(seconds[np.isfinite(seconds)][-1]))}"
    if (best := _best(epochs, history)) is not None:
        which = ", averaged weights" if best[2] == "ema_top1" else ""
        parts.append(f"best top-1 {best[1]:.2f}% (epoch {best[0]:.0f}{which})")
    return ", ".join(parts)
