"""A grid's figure: accuracy over the triangle of ways to spend one step of growth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling.grid import Candidate, shares
from vbs.figure import label, new_figure, save_png

if TYPE_CHECKING:
    from scaling.surface import Surface
    from scaling.trainings import Result


def draw(
    path: Path, settings: Mapping[str, Any], found: Sequence[Candidate],
    known: Mapping[str, Result], surface: Surface | None,
) -> None:  # fmt: skip
    """Accuracy over the triangle of shares: corners are one axis alone."""
    from scaling.surface import simplex

    figure = new_figure(7.5, 6.4)
    axes = figure.add_subplot()
    rows = [each for each in found if each.name in known and known[each.name].accuracies]
    means = np.array([known[each.name].mean for each in rows])
    points = _flat(np.array([shares(each) for each in rows]))
    low, high = float(means.min()), float(means.max())
    if surface is not None:
        mesh = simplex()
        values = surface.predict(mesh)
        flat = _flat(mesh)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        shown = axes.tricontourf(flat[:, 0], flat[:, 1], values, levels=16, vmin=low, vmax=high)
        figure.colorbar(shown, ax=axes, shrink=0.7, label="minival top-1 (%)")
        best = _flat(surface.shares[None])[0]
        axes.plot(*best, "*", ms=18, mfc="white", mec="black", label="optimum of the surface")
    axes.scatter(
        points[:, 0], points[:, 1], c=means, vmin=low, vmax=high, s=70, edgecolors="black",
        zorder=3,
    )  # fmt: skip
    for each, place, mean in zip(rows, points, means, strict=True):
        axes.annotate(f"{mean:.1f}", place, xytext=(5, 5), textcoords="offset points", fontsize=7)
        if each.is_control:
            axes.plot(*place, "o", ms=13, mfc="none", mec="tab:red", mew=1.6)
    _frame(axes)
    axes.set(aspect="equal", title=f"{label(Path(settings['base']).name)}: how to spend "
             f"{settings['growth']:g} times the {settings['objective']}")  # fmt: skip
    axes.axis("off")
    if surface is not None:
        axes.legend(loc="upper left", frameon=False)
    save_png(figure, path)


def _frame(axes: Any) -> None:
    """The triangle and what its corners are."""
    corners = _flat(np.eye(3))
    axes.plot(*corners[[0, 1, 2, 0]].T, c="black", lw=1)
    axes.set(xlim=(-0.62, 0.62), ylim=(-0.1, 0.95))
    for corner, text, away in zip(
        corners, ("depth alone", "width alone", "resolution alone"),
        ((-0.0, -0.06), (0.0, -0.06), (0.0, 0.03)), strict=True,
    ):  # fmt: skip
        axes.annotate(text, corner + away, ha="center", fontsize=10)


def _flat(places: np.ndarray) -> np.ndarray:
    """Shares [n, 3] as points [n, 2] of a triangle: depth left, width right, resolution above."""
    depth, width, side = places.T
    return np.stack([width - depth, side * math.sqrt(3)], axis=1) / 2
