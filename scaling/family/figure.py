"""A family's figure: real cost beside the formula's, and the real factors of each member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vbs.figure import label, new_figure, save_png


def draw(path: Path, rows: Sequence[Mapping[str, Any]], *, name: str) -> None:
    """Draw the members of a base of that name."""
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
    left.margins(x=0.12, y=0.1)  # the words beside the first point, and above the last
    for panel, place in ((left, "lower right"), (right, "upper left")):
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, loc=place)
    save_png(figure, path)
