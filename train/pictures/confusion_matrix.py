"""The confusion matrix of a network, as a figure with its most confused pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.pictures.style import (
    figure_of,
    head,
    one_line,
    save,
    shorten,
)

WRITTEN = 20  # most classes for which the matrix has numbers
NAMED = 60  # most classes for which its axes have names
PAIRS = 26  # most confused pairs that are listed
SIDE = 500  # most cells per side; with more classes, cells are merged so that none is left out


def confusion(path: Path, counts: np.ndarray, classes: Sequence[str]) -> None:
    """Draw the confusion matrix, each row as shares of its class's images.

    counts   int [classes, classes]; rows are the true classes, columns the predictions.
    classes  names in the same order.

    Up to 20 classes the cells have percentages; with more, the most confused pairs are listed.
    Raises ValueError if the arguments do not match.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)) or not len(classes):
        raise ValueError(f"counts: {counts.shape} is not allowed; use a square of {len(classes)}")
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError(
            f"counts: {counts.dtype} from {counts.min()} is not allowed; use integers from 0"
        )
    total = counts.sum(1)
    shares = counts / np.maximum(total, 1)[:, None]
    names = [shorten(one_line(name) or f"#{index}", 22) for index, name in enumerate(classes)]
    if len(classes) <= WRITTEN:
        # space for the matrix, names, axis labels, the colour bar and the title
        side, margin = max(0.44 * len(classes), 2.4), 0.8 + 0.085 * max(map(len, names))
        figure = figure_of(side + margin + 1.4, side + margin + 0.8)
        _matrix(figure, figure.add_subplot(), shares, names)
    else:
        figure = figure_of(15.5, 9.5)
        left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
        _matrix(figure, left, shares, names)
        _pairs(right, counts, total, names)
    right_answers, pictures = int(np.trace(counts)), int(total.sum())
    share = f"{100 * right_answers / pictures:.2f}%" if pictures else "none"
    head(figure, "confusion matrix", f"{share} of {pictures:,} images correct")
    save(figure, path)


def _matrix(figure: Any, axes: Any, shares: np.ndarray, names: list[str]) -> None:
    """Draw the matrix as colours, with names and numbers if there is space."""
    from matplotlib.colors import PowerNorm

    count = len(names)
    block = math.ceil(count / SIDE)
    padded = np.pad(shares, (0, -count % block))
    # the maximum of a block, because a mean would hide a single confused pair
    shown = padded.reshape(len(padded) // block, block, -1, block).max((1, 3))
    few = count <= WRITTEN
    norm = PowerNorm(1 if few else 0.5, 0, 1)  # emphasises small shares if there are many classes
    edge = len(padded) - 0.5
    image = axes.imshow(
        shown, cmap="Blues", norm=norm, interpolation="nearest", extent=(-0.5, edge, edge, -0.5)
    )
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), xlabel="predicted", ylabel="true")
    if count <= NAMED:
        size = 9 if few else 7
        axes.set_xticks(range(count), names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(count), names, fontsize=size, parse_math=False)
    if few:
        for row, column in np.argwhere(shares > 0):
            share = shares[row, column]
            text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 0.55 else "0.15",
                in_layout=False,
            )
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1] if not few else [0, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    bar.set_label("percent of the true class" if few else "share of the true class")


def confused_pairs(counts: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Return (true, predicted) of the most frequent confusions; ties in order of the matrix.

    counts  int [classes, classes]; rows are the true classes.
    """
    wrong = np.array(counts, np.int64)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    found = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(true), int(predicted)) for true, predicted in found if wrong[true, predicted]]


def _pairs(axes: Any, counts: np.ndarray, total: np.ndarray, names: list[str]) -> None:
    axes.set_axis_off()
    axes.set_title("most confused: true, predicted, images", loc="left", fontsize=11)
    pairs = confused_pairs(counts, PAIRS)
    for line, (true, predicted) in enumerate(pairs):
        y = 1 - (line + 0.7) / PAIRS
        wrong = counts[true, predicted]
        style = {"fontsize": 9, "va": "center", "parse_math": False}
        axes.text(0, y, names[true], **style)
        axes.text(0.4, y, names[predicted], **style)
        share = f"{wrong:,} of {total[true]:,} ({100 * wrong / total[true]:.0f}%)"
        axes.text(1.12, y, share, ha="right", **style)
    if not pairs:
        axes.text(0, 0.9, "none", fontsize=9)
