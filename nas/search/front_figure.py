"""The figure pareto.png: accuracy against cost of evaluated networks, and their front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import pareto_front
from search_spaces.cost import MEASURED, Costs, cost_text, is_measured, split_cost
from vbs.figure import label, new_figure, save_png
from vbs.text import counted

if TYPE_CHECKING:
    from nas.search.rows import Row

SAMPLE = 4000  # largest number of points of evaluated networks
FAR = 4.0  # largest range of the axis, relative to the range of the upper 80% of the points


# kinds of costs that are not shown in milliseconds: unit, and units per second
UNITS = {"image_time": ("microseconds", 1e6), "train_time": ("seconds", 1.0)}


class Axis(NamedTuple):
    """The axis of the target cost of a search."""

    name: str
    scale: float
    label: str

    def of(self, costs: Costs) -> np.ndarray:
        """Return costs [n] in the unit of the axis."""
        return costs.get(self.name) * self.scale


def axis_of(history: History) -> Axis:
    """Return the cost axis of a search's figure."""
    name = history.objective.of
    if is_measured(name):
        kind, device = split_cost(name)
        unit, scale = UNITS.get(kind, ("milliseconds", 1e3))
        where = f", {label(device)}" * bool(device)
        return Axis(name, scale, f"{MEASURED[kind].replace('seconds', unit)}{where}")
    of = {"flops": "FLOPs: multiply-adds of one image"}.get(name, name)
    return Axis(name, 1e-6, f"{of}, in millions")


def draw(
    path: Path | None, history: History, evaluator: Evaluator, references: Sequence[Row]
) -> Any:
    """Draw evaluated networks, their front, the best one, and the published `references`.

    path  file to save the figure in, or None.

    Returns a matplotlib figure.
    """
    figure = new_figure(8, 5.6, dpi=120)
    axes = figure.add_subplot()
    axis = axis_of(history)
    _draw_evaluated(axes, history)
    if evaluator.measured is not None and not evaluator.pooled:
        genotypes, accuracy = evaluator.measured.genotypes, evaluator.measured.accuracy
        spent = axis.of(history.space.costs(genotypes))
        front = pareto_front(accuracy, spent)
        axes.plot(
            spent[front], accuracy[front], "s", ms=4, c="tab:green", label="best measured networks"
        )
    for reference in references:
        if not np.isnan(reference.accuracy):
            place = reference.costs[axis.name] * axis.scale
            axes.plot(
                place,
                reference.accuracy,
                "*",
                ms=13,
                c="tab:red",
                label=label(reference.name),
                zorder=5,
            )
    best = history.best()
    axes.plot(
        axis.of(history.costs[best : best + 1])[0],
        history.summary(best).accuracy,
        "D",
        ms=8,
        mfc="none",
        mec="black",
        mew=1.6,
        label="best reward",
        zorder=6,
    )
    target = history.objective.target
    shown = cost_text(axis.name, target)
    axes.axvline(target * axis.scale, c="0.3", ls=":", lw=1, label=f"target {shown}")
    axes.set_xlabel(axis.label)
    axes.set_ylabel(label(evaluator.axis))
    axes.set_title(f"{counted(history.networks, 'network')} of space {label(history.space.name)}")
    # a legend inside the axes would cover points
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    if path is not None:
        save_png(figure, path)
    return figure


def _draw_evaluated(axes: Any, history: History) -> None:
    """Draw a sample of the evaluated networks, and the front as steps."""
    shown, of = sample(history, SAMPLE)
    axis, accuracy = axis_of(history), history.accuracy[shown]
    spent = axis.of(history.costs[shown])
    dots, words = (2, "evaluated (a sample)") if of > SAMPLE else (5, "evaluated")
    full = history.full[shown]
    axes.plot(spent[full], accuracy[full], ".", ms=dots, c="0.6", label=words)
    if not full.all():
        axes.plot(spent[~full], accuracy[~full], "x", ms=4, c="0.75", label="stopped early")
    front = history.front()
    best = np.array([history.summary(row).accuracy for row in front])
    place = axis.of(history.costs[front])
    axes.step(place, best, where="post", c="tab:blue", lw=1.8, label="Pareto front")
    _limit_below(axes, spent, accuracy, float(best.min()))


def sample(history: History, most: int) -> tuple[np.ndarray, int]:
    """Return at most `most` distinct rows of successful evaluations, and the number of all."""
    failed = np.isnan(history.accuracy)
    # a number stands for all rows, because an array of them would take 8 bytes each
    rows = np.flatnonzero(~failed) if failed.any() else len(history)
    count = int((~failed).sum())
    return np.random.default_rng(0).choice(rows, min(most, count), replace=False), count


def lower_end(accuracy: np.ndarray, least: float) -> float:
    """Return the lower end of an axis of accuracies [n], which may leave out outliers.

    least  lowest accuracy of the front, which is always shown.
    """
    top, usual = float(accuracy.max()), min(float(np.percentile(accuracy, 20)), least)
    return max(float(accuracy.min()), top - FAR * max(top - usual, 0.5))


def _limit_below(axes: Any, spent: np.ndarray, accuracy: np.ndarray, least: float) -> None:
    """Limit the axis, and mark networks far below the others at the lower edge.

    least  lowest accuracy of the front, which is always shown.
    """
    top = float(accuracy.max())
    bottom = lower_end(accuracy, least)
    margin = 0.06 * max(top - bottom, 0.5)
    below = accuracy < bottom
    axes.set_ylim(bottom - margin, top + margin)
    if below.any():
        axes.plot(
            spent[below],
            np.full(below.sum(), bottom - margin / 2),
            "v",
            ms=4,
            c="0.6",
            label=f"lower: {below.sum()} down to {accuracy.min():.1f}%",
        )
