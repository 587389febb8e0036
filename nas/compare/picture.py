"""The figure comparison.png: mean best reward over the number of evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.compare.interval import interval
from vbs.figure import label, new_figure, save_png

STYLES = ("-", "--", "-.", ":")
COLOURS = 10  # colours of matplotlib's cycle
MOST_INSIDE = 5  # groups up to which the legend is inside the axes
LATE = 5  # bands from a fifth of the evaluations on determine the limits of the y axis


def draw(path: Path | None, groups: Mapping[str, np.ndarray]) -> Any:
    """Draw curves [searches, evaluations] of groups, best group first, with 95% bands.

    path  PNG file to save the figure to; None: not saved.
    """
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    evaluations = next(iter(groups.values())).shape[1]
    steps = np.unique(np.geomspace(1, evaluations, 200).astype(int))
    shown = []
    for place, (name, curves) in enumerate(groups.items()):
        mean, low, high = np.array([interval(curves[:, step - 1]) for step in steps]).T
        named = label(f"{name}, {counted_searches(len(curves))}")
        style, marker = STYLES[place // COLOURS % len(STYLES)], "o" if len(steps) == 1 else ""
        (line,) = axes.plot(steps, mean, style, marker=marker, label=named)
        axes.fill_between(steps, low, high, alpha=0.2, color=line.get_color(), lw=0)
        late = steps >= evaluations / LATE
        shown += [mean, low[late], high[late]]
    _limit(axes, np.concatenate(shown))
    axes.set_xscale("log")
    axes.set_xlabel("evaluations")
    axes.set_ylabel("best reward so far")
    axes.grid(alpha=0.25)
    if len(groups) <= MOST_INSIDE:
        axes.legend(frameon=False)
    else:
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    if path is not None:
        save_png(figure, path)
    return figure


def _limit(axes: Any, values: np.ndarray) -> None:
    """Limit the y axis to values [n], so that wide bands of few evaluations are cut."""
    known = values[np.isfinite(values)]
    if len(known) and known.max() > known.min():
        margin = 0.05 * (known.max() - known.min())
        axes.set_ylim(known.min() - margin, known.max() + margin)


def counted_searches(count: int) -> str:
    """Return "1 search" or "5 searches"."""
    return f"{count:,} search{'' if count == 1 else 'es'}"
