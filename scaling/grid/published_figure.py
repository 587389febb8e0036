"""Figure of a predicted grid: gain over the triangle of ways to spend one step of growth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scaling.grid.config import GridConfig
from scaling.grid.figure import flat, frame
from scaling.grid.growth import Candidate
from scaling.published import Optimum
from scaling.published.optimum import NAMED, TIE
from vbs.figure import label, new_figure, save_png


def draw(
    path: Path,
    config: GridConfig,
    optimum: Optimum,
    places: np.ndarray,
    found: Sequence[Candidate],
    gains: np.ndarray,
) -> None:
    """Draw the predicted gain over the triangle of shares, ties with the best, and candidates.

    places  shares of the candidates, [n, 3].
    gains   predicted gains of the candidates, [n].
    """
    from matplotlib.patheffects import withStroke

    figure = new_figure(7.5, 6.4)
    axes = figure.add_subplot()
    mesh = flat(optimum.places)
    shown = axes.tricontourf(mesh[:, 0], mesh[:, 1], optimum.expected, levels=16)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="predicted gain (points of ImageNet top-1)")
    edge = optimum.expected.max() - TIE
    rim = [withStroke(linewidth=3, foreground="black")]  # visible on the white legend
    axes.tricontour(
        mesh[:, 0], mesh[:, 1], optimum.expected, levels=[edge], colors="white", linewidths=1.8
    ).set(path_effects=rim)
    shown_as = f"within {TIE} points of the best: ties"
    axes.plot([], [], c="white", lw=1.8, path_effects=rim, label=shown_as)
    free = np.array([not each.is_control for each in found])
    at = flat(places)
    axes.scatter(
        at[free, 0], at[free, 1], s=14, c="white", edgecolors="black", lw=0.6, label="candidates"
    )
    published = np.array(NAMED["published (1.2, 1.1, 1.15)"])
    axes.plot(
        *flat(published[None] / published.sum())[0],
        "P",
        ms=11,
        c="tab:red",
        mec="white",
        label="EfficientNet: (1.2, 1.1, 1.15)",
    )
    axes.plot(*flat(optimum.shares[None])[0], "*", ms=18, mfc="white", mec="black", label="optimum")
    alone = {
        each.name: float(gain) for each, gain in zip(found, gains, strict=True) if each.is_control
    }
    frame(axes, alone)
    axes.set(
        aspect="equal",
        title=f"{label(Path(config.base).name)}: how to spend {config.growth:g} times the FLOPs",
    )
    axes.axis("off")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.04), frameon=False, ncols=2, fontsize=9)
    save_png(figure, path)
