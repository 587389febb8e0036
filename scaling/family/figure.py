"""Figure of a family: real and formula cost, real factors, and predicted accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vbs.figure import label, new_figure, save_png
from vbs.units import short

MOST_TICKS = 12  # largest number of members that each get a tick on the phi axis


def draw(path: Path, rows: Sequence[Mapping[str, Any]], *, name: str) -> None:
    """Draw the members of the base called `name` into a PNG file."""
    predicted = [row for row in rows if row["predicted_top1"] is not None]
    if predicted:
        figure = new_figure(16, 4.5)
        left, right, accuracy = figure.subplots(1, 3)
        _draw_accuracy(accuracy, predicted)
    else:
        figure = new_figure(11, 4.5)
        left, right = figure.subplots(1, 2)
    phis = [row["phi"] for row in rows]
    left.plot(phis, [row["flops"] for row in rows], "o-", c="tab:blue", label="real")
    left.plot(phis, [row["formula_flops"] for row in rows], "x--", c="0.5", label="by the formula")
    for row in rows:
        if row["published_top1"] is not None:
            left.annotate(
                f"{row['published_top1']:.1f}%",
                (row["phi"], row["flops"]),
                ha="right",
                xytext=(-5, 5),
                textcoords="offset points",
                fontsize=8,
            )
    left.set(
        yscale="log",
        xlabel="phi",
        ylabel="FLOPs (multiply-adds of one image)",
        title=f"Cost of the family of {label(name)}",
    )
    for axis, colour in (("depth", "tab:red"), ("width", "tab:green"), ("resolution", "tab:blue")):
        real = [row["real_factors"][axis] for row in rows]
        wanted = [row["factors"][axis] for row in rows]
        right.plot(phis, real, "o-", c=colour, label=axis)
        right.plot(phis, wanted, "x--", c=colour, alpha=0.5)
    right.set(xlabel="phi", ylabel="times the base", title="Real factors (dashed: wanted)")
    left.margins(x=0.2, y=0.1)  # space for the labels of the first and the last point
    _mark_sizes(left.yaxis)
    for panel, place in ((left, "lower right"), (right, "upper left")):
        if len(phis) <= MOST_TICKS:
            panel.set_xticks(phis, [f"{phi:g}" for phi in phis])
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, loc=place)
    save_png(figure, path)


def _draw_accuracy(panel: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw predicted top-1 with its 95% interval against FLOPs, and published top-1."""
    rows = sorted(rows, key=lambda row: row["flops"])
    found = [row["predicted_top1"] for row in rows]
    flops, percent = [row["flops"] for row in rows], [each["percent"] for each in found]
    low, high = zip(*(each["interval_95"] for each in found), strict=True)
    panel.fill_between(flops, low, high, color="tab:blue", alpha=0.15, label="95% interval")
    panel.plot(flops, percent, "o-", c="tab:blue", label="predicted")
    known = [
        (row["flops"], row["predicted_top1"]["percent"])
        for row in rows
        if row["predicted_top1"]["known"]
    ]
    if known:
        panel.plot(*zip(*known, strict=True), "s", c="black", label="known")
    published = [(row["flops"], row["published_top1"]) for row in rows if row["published_top1"]]
    if published:
        panel.plot(*zip(*published, strict=True), "x", c="tab:red", label="published")
    panel.set(
        xscale="log",
        xlabel="FLOPs (multiply-adds of one image)",
        ylabel="ImageNet top-1 (%)",
        title="Predicted from published trainings",
    )
    _mark_sizes(panel.xaxis)
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, loc="lower right")


def _mark_sizes(axis: Any) -> None:
    """Set ticks such as 200M, 500M, 1G on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: short(value))
