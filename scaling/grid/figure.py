"""Figure of a grid: accuracy over the triangle of ways to spend one step of growth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling.grid.config import GridConfig
from scaling.grid.growth import AXES, Candidate, shares
from scaling.surface import Surface, simplex
from scaling.training_result import Result
from vbs.figure import label, new_figure, save_png


def draw(
    path: Path,
    config: GridConfig,
    found: Sequence[Candidate],
    known: Mapping[str, Result],
    surface: Surface | None,
) -> None:
    """Draw accuracy over the triangle of shares, whose corners are one axis alone."""
    figure = new_figure(7.5, 6.4)
    axes = figure.add_subplot()
    rows = [each for each in found if each.name in known and known[each.name].accuracies]
    means = np.array([known[each.name].mean for each in rows])
    points = flat(np.array([shares(each) for each in rows]))
    low, high = float(means.min()), float(means.max())
    if surface is not None:
        mesh = simplex()
        values = surface.predict(mesh)
        at = flat(mesh)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        shown = axes.tricontourf(at[:, 0], at[:, 1], values, levels=16, vmin=low, vmax=high)
        figure.colorbar(shown, ax=axes, shrink=0.7, label="minival top-1 (%)")
        best = flat(surface.shares[None])[0]
        axes.plot(
            *best, "*", ms=18, mfc="white", mec="black", zorder=2.5, label="optimum of the surface"
        )
    axes.scatter(
        points[:, 0],
        points[:, 1],
        c=means,
        vmin=low,
        vmax=high,
        s=70,
        edgecolors="black",
        zorder=3,
    )
    for each, place, mean in zip(rows, points, means, strict=True):
        if each.is_control:  # its accuracy is shown beside the name of the corner
            axes.plot(*place, "o", ms=13, mfc="none", mec="tab:red", mew=1.6)
        else:
            annotate(axes, place, f"{mean:.1f}")
    frame(axes, {each.name: mean for each, mean in zip(rows, means, strict=True)})
    axes.set(
        aspect="equal",
        title=f"{label(Path(config.base).name)}: how to spend "
        f"{config.growth:g} times the {config.objective}",
    )
    axes.axis("off")
    if surface is not None:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), frameon=False)
    save_png(figure, path)


def annotate(axes: Any, place: np.ndarray, text: str) -> None:
    """Write text beside a point, on the side away from the centre of the triangle."""
    from matplotlib.patheffects import withStroke

    away = place - flat(np.full((1, 3), 1 / 3))[0]
    across = away / max(float(np.hypot(*away)), 1e-9) if np.hypot(*away) > 0.05 else (1.0, 1.0)
    axes.annotate(
        text,
        place,
        xytext=(14 * across[0], 12 * across[1]),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8,
        zorder=4,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def frame(axes: Any, means: Mapping[str, float]) -> None:
    """Draw the triangle, the names of its corners, and the accuracies of the controls."""
    corners = flat(np.eye(3))
    axes.plot(*corners[[0, 1, 2, 0]].T, c="black", lw=1)
    axes.set(xlim=(-0.68, 0.68), ylim=(-0.16, 1.0))
    for corner, axis, away in zip(corners, AXES, ((0, -20), (0, -20), (0, 14)), strict=True):
        text = f"{axis} alone" + (f": {means[axis]:.1f}" if axis in means else "")
        axes.annotate(
            text,
            corner,
            xytext=away,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=10,
        )


def flat(places: np.ndarray) -> np.ndarray:
    """Map shares [n, 3] to points [n, 2] of a triangle: depth left, width right, resolution top."""
    depth, width, side = places.T
    return np.stack([width - depth, side * math.sqrt(3)], axis=1) / 2
