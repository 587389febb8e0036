"""Printed report of predictions: a table of images and classes, and the speed."""

from __future__ import annotations

from collections import Counter

from train.predict.result import PredictResult
from vbs.console import print_err, print_out
from vbs.tables import Console, Table
from vbs.text import counted, shell_word, shortened

ROWS = 40  # most images that are printed one by one
CLASSES = 20  # most classes that are counted


def show_result(result: PredictResult) -> None:
    """Print the first predictions as a table, the number of images of each class, and the speed."""
    console, places = Console(), result.labels.shape[1]
    table = Table(box=None, pad_edge=False)
    table.add_column("image")
    for place in range(places):
        table.add_column("prediction" if place == 0 else f"prediction {place + 1}")
    for index in range(min(ROWS, len(result))):
        cells = [
            f"{shortened(result.classes[int(label)], 40)} ({100 * float(probability):.1f}%)"
            for label, probability in zip(
                result.labels[index], result.probabilities[index], strict=True
            )
        ]
        table.add_row(shortened(result.store.name(int(result.rows[index])), 80), *cells)
    console.print(table)
    if len(result) > ROWS:
        _print_counts(result)
    print_out(
        "",
        f"{counted(len(result), 'image')} in {result.seconds:,.1f} s, "
        f"{len(result) / max(result.seconds, 1e-9):,.0f} images/s including their preparation, "
        f"by {result.runtime}",
    )
    for path in result.written:
        print_out(f"written: {shell_word(path)}")
    if result.unreadable:
        total = len(result) + len(result.unreadable)
        print_err(
            f"train.predict: {len(result.unreadable):,} of {counted(total, 'image')} could not be "
            "read and were skipped"
        )


def _print_counts(result: PredictResult) -> None:
    """Print the number of images by their most probable class."""
    counts = Counter(result.labels[:, 0].tolist()).most_common()
    shown = [f"{count:,} {shortened(result.classes[label], 40)}" for label, count in counts]
    more = [f"{len(shown) - CLASSES} more classes"] if len(shown) > CLASSES else []
    kept = "" if result.config.out else "; --out FILE keeps all"
    print_out(
        f"... {len(result) - ROWS:,} more{kept}",
        f"in all: {', '.join([*shown[:CLASSES], *more])}",
    )
