"""Figure of a comparison: learning curves, and rank correlation against seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Answer
from nas.fidelity.ranks import LEVEL, SHARE, Judged
from vbs.figure import label, new_figure, save_png

Table = Sequence[Sequence[Sequence[Answer]]]


def draw(
    path: Path,
    judged: Sequence[Judged],
    found: Judged | None,
    answers: Table,
    flops: np.ndarray,
    *,
    title: str,
) -> None:
    """Write the figure to a PNG file.

    judged   results of the fidelities; the longest is the last.
    found    the recommended fidelity; None: none.
    answers  [fidelity][network][seed].
    flops    FLOPs of the networks, int64 [networks].
    """
    figure = new_figure(11, 4.6, dpi=120)
    left, right = figure.subplots(1, 2)
    _curves(figure, left, judged[-1], answers[-1], flops)
    _ranks(right, judged, found)
    for panel in (left, right):
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(label(title, 120), fontsize=11)
    save_png(figure, path)


def _curves(
    figure: Any,
    panel: Any,
    longest: Judged,
    answers: Sequence[Sequence[Answer]],
    flops: np.ndarray,
) -> None:
    """Draw a line for each network and seed of the longest training, coloured by FLOPs."""
    from matplotlib import cm, colormaps, colors

    millions = flops / 1e6
    norm = colors.Normalize(millions.min(), max(millions.max(), millions.min() + 1e-9))
    mapped = cm.ScalarMappable(norm, colormaps["viridis"])
    for number, row in enumerate(answers):
        for seed, each in enumerate(row):
            steps = [point.step for point in each.curve]
            accuracy = [point.accuracy for point in each.curve]
            style = "-" if seed == 0 else "--"
            panel.plot(
                steps, accuracy, style, c=mapped.to_rgba(millions[number]), lw=1.2, marker=".", ms=4
            )
    figure.colorbar(mapped, ax=panel, label="FLOPs: multiply-adds of one image, in millions")
    panel.set(
        xlabel="epoch (dashed: further seeds)",
        ylabel="minival accuracy of averaged weights (%)",
        title=f"longest training: {longest.fidelity}",
    )
    panel.xaxis.get_major_locator().set_params(integer=True)


def _ranks(panel: Any, judged: Sequence[Judged], found: Judged | None) -> None:
    """Draw Kendall's tau with the longest training against the seconds of a training."""
    from matplotlib.ticker import LogLocator

    longest = judged[-1]
    judged = [each for each in judged if np.isfinite(each.kendall.value)]
    if not judged:
        panel.text(0.5, 0.5, "too many trainings failed", transform=panel.transAxes, ha="center")
        return
    rungs = longest.rungs
    panel.plot(
        [rung.seconds for rung in rungs],
        [rung.kendall.value for rung in rungs],
        "-",
        c="0.7",
        lw=1.5,
        label="longest, after each epoch",
    )
    for each in judged:
        tau = each.kendall
        around = [[max(0.0, tau.value - tau.low)], [max(0.0, tau.high - tau.value)]]
        panel.errorbar(
            [each.seconds], [tau.value], around, fmt="o", capsize=3, ms=5, label=str(each.fidelity)
        )
    if found is not None:
        panel.plot(
            [found.seconds],
            [found.kendall.value],
            "o",
            ms=13,
            mfc="none",
            mec="black",
            mew=1.5,
            label="recommended",
        )
    ceiling = longest.kendall.value
    panel.axhline(ceiling, c="0.3", ls="--", lw=1, label="noise ceiling")
    panel.axhline(SHARE * ceiling, c="0.3", ls=":", lw=1, label=f"{SHARE:g} x noise ceiling")
    panel.set(
        xscale="log",
        xlabel="seconds of a training",
        ylabel="Kendall tau with the longest, across seeds",
        title=f"{longest.networks} networks, {LEVEL:.0%} intervals",
    )
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter("")
    panel.legend(fontsize=7.5, loc="lower right", framealpha=0.9)
