"""Pictures of a training run: learning curves, which classes are confused, the worst mistakes.

Every picture is a PNG that appears whole or not at all. Names of classes are drawn as they are
(a $ begins no formula); characters that cannot be printed are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.logs import Row
from vbs.figure import new_figure, save_png
from vbs.folder import write_whole
from vbs.text import printable
from vbs.units import clock

BLUE, ORANGE, GREEN, RED, GREY = "#1f5fa8", "#e07b00", "#2a8a43", "#c62828", "0.45"
LINES = {  # curve -> colour, name in the legend, panel
    "train_loss": (GREY, "training (augmented)", "loss"),
    "val_loss": (BLUE, "validation", "loss"),
    "ema_loss": (ORANGE, "validation, averaged weights (EMA)", "loss"),
    "val_top1": (BLUE, "validation", "accuracy"),
    "ema_top1": (ORANGE, "validation, averaged weights (EMA)", "accuracy"),
}
WRITTEN = 20  # up to so many classes the matrix holds numbers
NAMED = 60  # up to so many its axes hold names
PAIRS = 26  # so many confused pairs are listed
SIDE = 500  # a matrix of more classes is shown in blocks: pixels are not left out
ROWS, COLUMNS = 5, 8  # of a contact sheet
CELL = 190  # pixels of a picture's longer side on it


def curves(path: Path, history: Sequence[Row], title: str) -> None:
    """Loss, top-1 accuracy and schedule against epochs; of no rows an empty picture.

    Against epochs, not seconds: an interruption or a busier machine does not bend the curves, and
    the schedule is one of epochs. The time is in the title. A loss that is no number is marked.
    """
    epochs = np.array([_value(row, "epoch", index + 1) for index, row in enumerate(history)])
    schedule = bool(np.isfinite(_column(history, "lr")).any())
    figure = _figure(8, 7.6 if schedule else 6.4)
    heights = [3, 3, 1.3] if schedule else [3, 3]
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for panel, name in zip(panels, ("loss", "accuracy"), strict=False):
        for key, (colour, label, where) in LINES.items():
            if where == name:
                _line(panel, epochs, history, key, color=colour, label=label)
        _finish(panel, epochs, history)
    _loss_scale(panels[0])
    panels[1].set_ylabel("top-1 accuracy in percent")
    _mark_best(panels[1], epochs, history)
    if schedule:
        _schedule(panels[2], epochs, history)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    if len(epochs) <= 1:
        panels[-1].set_xlim(epochs.sum() - 1, epochs.sum() + 1)
    _head(figure, title, _summary(epochs, history))
    _save(figure, path)


def _value(row: Row, name: str, default: float = math.nan) -> float:
    value = row.get(name)
    return default if value is None else float(value)


def _column(history: Sequence[Row], name: str) -> np.ndarray:
    return np.array([_value(row, name) for row in history], float)


def _line(panel: Any, epochs: np.ndarray, history: Sequence[Row], key: str, **style: Any) -> None:
    """A curve over the epochs in which it was measured; a NaN that was measured is a gap."""
    measured = np.array([row.get(key) is not None for row in history], bool)
    values = _column(history, key)[measured]
    values[~np.isfinite(values)] = np.nan
    if not np.isfinite(values).any():
        return
    # a single point, or one between two gaps, is seen by its marker only
    few = np.isfinite(values).sum() <= 40
    panel.plot(epochs[measured], values, marker="o" if few else None, ms=3.5, lw=1.6, **style)


def _finish(panel: Any, epochs: np.ndarray, history: Sequence[Row]) -> None:
    """Grid, legend, and a mark where the training loss stopped being a number."""
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    known = np.array([row.get("train_loss") is not None for row in history], bool)
    broken = epochs[known & ~np.isfinite(_column(history, "train_loss"))]
    if len(broken):
        panel.axvline(broken[0], c=RED, ls="--", lw=1.2, label="the loss is no number")
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize=9, loc="best")
    else:
        panel.set_yticks([])
        panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color=GREY)


def _loss_scale(panel: Any) -> None:
    """A logarithmic axis where the losses span more than a factor of thirty."""
    curves = [np.asarray(line.get_ydata(), float) for line in panel.lines if line.get_ls() == "-"]
    values = np.concatenate([*curves, np.empty(0)])
    values = values[np.isfinite(values)]
    panel.set_ylabel("loss")
    if len(values) and 0 < 30 * values.min() < values.max():
        panel.set(yscale="log", ylabel="loss (logarithmic)")


def _best(epochs: np.ndarray, history: Sequence[Row]) -> tuple[float, float, str] | None:
    """Epoch, accuracy and key of the best validation, the first of equals; None without any."""
    found = None
    for key in ("val_top1", "ema_top1"):
        values = _column(history, key)
        if np.isfinite(values).any():
            index = int(np.nanargmax(np.where(np.isfinite(values), values, np.nan)))
            if found is None or values[index] > found[1]:
                found = (float(epochs[index]), float(values[index]), key)
    return found


def _mark_best(panel: Any, epochs: np.ndarray, history: Sequence[Row]) -> None:
    best = _best(epochs, history)
    if best is None:
        return
    panel.plot(best[0], best[1], "o", ms=9, mfc="none", mec=LINES[best[2]][0], mew=1.6)
    bottom, top = panel.get_ylim()
    panel.set_ylim(bottom, top + 0.12 * (top - bottom))  # room for the words
    late = best[0] > epochs.mean()
    panel.annotate(
        f"{best[1]:.2f}%",
        best[:2],
        (-6 if late else 6, 8),
        fontsize=9,
        textcoords="offset points",
        ha="right" if late else "left",
        color=LINES[best[2]][0],
    )


def _schedule(panel: Any, epochs: np.ndarray, history: Sequence[Row]) -> None:
    """The learning rate, and on a second axis the image size where it changes."""
    rate, side = _column(history, "lr"), _column(history, "resolution")
    panel.plot(epochs, rate, c=GREEN, lw=1.6, marker="o" if len(rate) <= 40 else None, ms=3)
    panel.set_ylabel("learning rate", color=GREEN)
    panel.set_ylim(0, 1.15 * np.nanmax(np.where(np.isfinite(rate), rate, 0)) or 1)
    panel.ticklabel_format(axis="y", scilimits=(-2, 3))
    panel.grid(alpha=0.25)
    panel.spines["top"].set_visible(False)
    sizes = np.unique(side[np.isfinite(side)])
    if len(sizes) < 2:
        panel.spines["right"].set_visible(False)
        return
    second = panel.twinx()
    second.step(epochs, side, where="mid", c=RED, lw=1.4)
    second.set_ylabel("image side, px", color=RED)
    second.set_ylim(0, 1.15 * sizes[-1])
    second.spines["top"].set_visible(False)


def _summary(epochs: np.ndarray, history: Sequence[Row]) -> str:
    """What the curves come to, in a line."""
    parts = [f"{len(history)} epoch{'' if len(history) == 1 else 's'}"]
    seconds = _column(history, "seconds")
    if np.isfinite(seconds).any():
        parts[0] += f" in {clock(float(seconds[np.isfinite(seconds)][-1]))}"
    if (best := _best(epochs, history)) is not None:
        which = ", averaged weights" if best[2] == "ema_top1" else ""
        parts.append(f"best top-1 {best[1]:.2f}% (epoch {best[0]:.0f}{which})")
    return ", ".join(parts)


def confusion(path: Path, counts: np.ndarray, classes: Sequence[str]) -> None:
    """Which classes are taken for which: each row in shares of that class's pictures.

    counts   int [classes, classes], rows are the truth, columns are the predictions
    classes  their names, in the same order

    Up to 20 classes have their percentages written; of more the most confused pairs are listed.
    ValueError where the two do not fit.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)) or not len(classes):
        raise ValueError(f"counts: {counts.shape} is no square of {len(classes)} classes")
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError(f"counts: {counts.dtype}, at least {counts.min()}; numbers of pictures")
    total = counts.sum(1)
    shares = counts / np.maximum(total, 1)[:, None]
    names = [shorten(_plain(name) or f"#{index}", 22) for index, name in enumerate(classes)]
    if len(classes) <= WRITTEN:
        # the matrix, and beside it names, axis labels, the bar and the head
        side, margin = max(0.44 * len(classes), 2.4), 0.8 + 0.085 * max(map(len, names))
        figure = _figure(side + margin + 1.4, side + margin + 0.8)
        _matrix(figure, figure.add_subplot(), shares, names)
    else:
        figure = _figure(15.5, 9.5)
        left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
        _matrix(figure, left, shares, names)
        _pairs(right, counts, total, names)
    right_answers, pictures = int(np.trace(counts)), int(total.sum())
    share = f"{100 * right_answers / pictures:.2f}%" if pictures else "none"
    _head(figure, "confusion matrix", f"{share} of {pictures:,} pictures right")
    _save(figure, path)


def _matrix(figure: Any, axes: Any, shares: np.ndarray, names: list[str]) -> None:
    """The matrix as colours, with as many words and numbers as can be read."""
    from matplotlib.colors import PowerNorm

    count = len(names)
    block = math.ceil(count / SIDE)
    padded = np.pad(shares, (0, -count % block))
    # the greatest share of a block: a mean would bleach what a single pair confuses
    shown = padded.reshape(len(padded) // block, block, -1, block).max((1, 3))
    few = count <= WRITTEN
    norm = PowerNorm(1 if few else 0.5, 0, 1)  # of many classes the small shares matter
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
    """(true, predicted) of the most frequent confusions; of equals the first in the matrix first.

    counts  int [classes, classes], rows are the truth
    """
    wrong = np.array(counts, np.int64)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    found = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(true), int(predicted)) for true, predicted in found if wrong[true, predicted]]


def _pairs(axes: Any, counts: np.ndarray, total: np.ndarray, names: list[str]) -> None:
    axes.set_axis_off()
    axes.set_title("most confused: true, predicted, pictures", loc="left", fontsize=11)
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


def mistakes(path: Path, pictures: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """A contact sheet of the first forty pictures with their titles; a smile where there is none.

    pictures  uint8 [height, width, 3] each, of any size
    titles    of each what to write beneath, such as "true cat, predicted dog 98%"

    ValueError where the numbers differ or something is no picture.
    """
    if len(pictures) != len(titles):
        raise ValueError(f"titles: {len(titles)} of them for {len(pictures)} pictures")
    for picture in pictures:
        kind, shape = picture.dtype, picture.shape
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or not picture.size:
            raise ValueError(f"pictures: {kind} {shape} is no uint8 [height, width, 3]")
    if not len(pictures):
        return _smile(path)
    count = min(len(pictures), ROWS * COLUMNS)
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    figure = _figure(1.9 * columns + 0.2, 2.4 * rows + 0.2, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    for index in range(count):
        row, column = divmod(index, columns)
        _place(axes, pictures[index], titles[index], column * 190 + 10, row * 240 + 10)
    axes.set(xlim=(0, 190 * columns + 20), ylim=(240 * rows + 20, 0))
    axes.set_axis_off()
    _save(figure, path)


def small(picture: np.ndarray) -> np.ndarray:
    """The picture with as many pixels as a contact sheet shows; a copy, so the rest is freed."""
    stride = max(1, max(picture.shape[:2]) // (3 * CELL))
    return picture[::stride, ::stride].copy() if stride > 1 else picture


def _place(axes: Any, picture: np.ndarray, title: str, left: float, top: float) -> None:
    """A picture within 170 x 170 units with its title beneath, in up to three lines."""
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
    """Up to three lines of 30 characters: parts between commas, each shortened in the middle."""
    parts = [part.strip() for part in _plain(title).split(", ")]
    lines = [*parts[:2], ", ".join(parts[2:])] if len(parts) > 3 else parts
    return "\n".join(shorten(line, 30) for line in lines if line)


def _smile(path: Path) -> None:
    """The picture of no mistakes."""
    from matplotlib.patches import Arc, Circle

    figure = _figure(6, 3.4, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1), aspect="equal")
    axes.add_patch(Circle((0, 0.25), 0.5, fc="#ffd54f", ec="#b8860b", lw=1.5))
    for x in (-0.18, 0.18):
        axes.add_patch(Circle((x, 0.38), 0.06, fc="0.2"))
    axes.add_patch(Arc((0, 0.25), 0.6, 0.56, theta1=200, theta2=340, ec="0.2", lw=3))
    axes.text(0, -0.55, "no mistakes: every picture was recognised", ha="center", fontsize=12)
    axes.set(xlim=(-1.6, 1.6), ylim=(-0.85, 0.95))
    axes.set_axis_off()
    _save(figure, path)


def worst(outputs: Any, targets: Any, count: int) -> np.ndarray:
    """Indices int64 [<= count] of the mistakes made with greatest confidence, the worst first.

    outputs  float [pictures, classes], logits or probabilities (rows that sum to one); numpy or
             torch, on any device
    targets  int [pictures], the true classes

    Of equals the earlier picture comes first; mistakes whose outputs are no numbers come last.
    ValueError where the shapes do not fit.
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
    # odds against the prediction: unlike confidences they do not all round to one
    np.put_along_axis(weights, shown.argmax(1)[:, None], np.where(np.isfinite(top), 0, np.nan), 1)
    odds = weights.sum(1)
    order = np.argsort(np.where(np.isnan(odds), np.inf, odds), kind="stable")
    return wrong[order][:count]


def _array(values: Any) -> np.ndarray:
    """A numpy array of an array or tensor; numpy knows no bfloat16."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def shorten(name: str, length: int) -> str:
    """A name of at most `length` characters; the middle goes, names often differ at the end."""
    if len(name) <= length:
        return name
    tail = (length - 1) // 3
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def _plain(text: str) -> str:
    """One line of printable characters; file names may hold what no font and no UTF-8 can."""
    return " ".join(printable(text).split())


def _figure(width: float, height: float, *, constrained: bool = True) -> Any:
    return new_figure(width, height, dpi=120, layout="constrained" if constrained else "none")


def _head(figure: Any, title: str, summary: str) -> None:
    figure.suptitle(
        f"{shorten(_plain(title), 90)}\n{summary}".strip(), fontsize=11, parse_math=False
    )


def _save(figure: Any, path: Path) -> None:
    write_whole(path, lambda unfinished: save_png(figure, unfinished))
    figure.clear()  # axes and figure point at each other: images would stay until the next gc
