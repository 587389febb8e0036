"""The worst mistakes of a network, and contact sheets of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.pictures.style import (
    figure_of,
    one_line,
    save,
    shorten,
)

ROWS, COLUMNS = 5, 8  # of a contact sheet
CELL = 190  # pixels of the longer side of an image on it


def mistakes(path: Path, pictures: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Draw a `picture_sheet` of mistakes; a smiley if there are none."""
    if not len(pictures) and not len(titles):
        return _smile(path)
    picture_sheet(path, pictures, titles)


def picture_sheet(path: Path, pictures: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Draw the first forty images with their titles.

    pictures  uint8 [height, width, 3] each, of any size; at least one.
    titles    text below each image, e.g. "true cat, predicted dog 98%".

    Raises ValueError if the numbers differ or a picture has another shape or type.
    """
    if len(pictures) != len(titles):
        raise ValueError(f"titles: {len(titles)} of them for {len(pictures)} pictures")
    for picture in pictures:
        kind, shape = picture.dtype, picture.shape
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or not picture.size:
            raise ValueError(
                f"pictures: {kind} {shape} is not allowed; use uint8 [height, width, 3]"
            )
    count = min(len(pictures), ROWS * COLUMNS)
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    figure = figure_of(1.9 * columns + 0.2, 2.4 * rows + 0.2, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    for index in range(count):
        row, column = divmod(index, columns)
        _place(axes, pictures[index], titles[index], column * 190 + 10, row * 240 + 10)
    axes.set(xlim=(0, 190 * columns + 20), ylim=(240 * rows + 20, 0))
    axes.set_axis_off()
    save(figure, path)


def small(picture: np.ndarray) -> np.ndarray:
    """Return the image at the size of a contact sheet; a copy, so that the original is freed."""
    stride = max(1, max(picture.shape[:2]) // (3 * CELL))
    return picture[::stride, ::stride].copy() if stride > 1 else picture


def _place(axes: Any, picture: np.ndarray, title: str, left: float, top: float) -> None:
    """Draw an image within 170 x 170 units with its title below, in up to three lines."""
    picture = small(picture)
    height, width = picture.shape[:2]
    scale = 170 / max(height, width)
    x, y = left + 90 - scale * width / 2, top + 170 - scale * height
    how = "nearest" if max(height, width) < CELL else "antialiased"
    axes.imshow(
        picture,
        extent=(x, x + scale * width, y + scale * height, y),
        interpolation=how,
        aspect="auto",
    )
    axes.text(
        left + 90, top + 176, _wrapped(title), ha="center", va="top", fontsize=8, parse_math=False
    )


def _wrapped(title: str) -> str:
    """Return up to three lines of 30 characters: comma-separated parts, shortened if needed."""
    parts = [part.strip() for part in one_line(title).split(", ")]
    lines = [*parts[:2], ", ".join(parts[2:])] if len(parts) > 3 else parts
    return "\n".join(shorten(line, 30) for line in lines if line)


def _smile(path: Path) -> None:
    """Draw a smiley for no mistakes."""
    from matplotlib.patches import Arc, Circle

    figure = figure_of(6, 3.4, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1), aspect="equal")
    axes.add_patch(Circle((0, 0.25), 0.5, fc="#ffd54f", ec="#b8860b", lw=1.5))
    for x in (-0.18, 0.18):
        axes.add_patch(Circle((x, 0.38), 0.06, fc="0.2"))
    axes.add_patch(Arc((0, 0.25), 0.6, 0.56, theta1=200, theta2=340, ec="0.2", lw=3))
    axes.text(0, -0.55, "no mistakes: all images classified correctly", ha="center", fontsize=12)
    axes.set(xlim=(-1.6, 1.6), ylim=(-0.85, 0.95))
    axes.set_axis_off()
    save(figure, path)


def worst(outputs: Any, targets: Any, count: int) -> np.ndarray:
    """Return indices int64 [<= count] of the most confident mistakes, the worst first.

    outputs  float [pictures, classes], logits or probabilities (rows that sum to one); numpy or
             torch, on any device.
    targets  int [pictures], the true classes.

    Ties are in the order of the images; mistakes with outputs that are not numbers come last.
    Raises ValueError if the shapes do not match.
    """
    logits, truth = _array(outputs), _array(targets).astype(np.int64)
    if logits.ndim != 2 or truth.shape != logits.shape[:1] or count < 0:
        raise ValueError(f"outputs {logits.shape}, targets {truth.shape}, count {count} do not fit")
    if not logits.size:
        return np.empty(0, np.int64)
    broken = np.isnan(logits).any(1)
    wrong, clean = np.flatnonzero(broken | (logits.argmax(1) != truth)), logits[~broken]
    shown = logits[wrong].astype(np.float64)
    top = shown.max(1, keepdims=True)
    with np.errstate(all="ignore"):
        probabilities = bool((clean >= 0).all() and (np.abs(clean.sum(1) - 1) < 0.01).all())
        weights = shown / top if probabilities else np.exp(shown - top)
    # odds against the prediction, because large confidences all round to one
    np.put_along_axis(weights, shown.argmax(1)[:, None], np.where(np.isfinite(top), 0, np.nan), 1)
    odds = weights.sum(1)
    order = np.argsort(np.where(np.isnan(odds), np.inf, odds), kind="stable")
    return wrong[order][:count]


def _array(values: Any) -> np.ndarray:
    """Convert an array or tensor to numpy, which has no bfloat16."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)
