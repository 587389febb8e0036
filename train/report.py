"""Output of a training: a preview, its progress, and figures of its results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from train import pictures as draw
from train.data import Data, Split
from train.distributed import World
from train.evaluate import Predicted, confusion_counts
from train.length import described, too_short
from train.loggers.catalog import Loggers
from train.logs import Progress, write_curves_csv
from train.loop import Report, Result
from train.parser import print_notes
from train.predictions import predicted_of, write_test_predictions
from train.recipe import Recipe
from train.record import PREDICTIONS
from vbs.console import print_err
from vbs.figure import attempt, draw_picture
from vbs.load import NOTICED, Load, LoadWatch
from vbs.text import printable, shell_word
from vbs.units import short

MOST_MISTAKES = 40  # images on the contact sheet


class Reporter(Report):
    """Progress on stderr, curves.csv in the run's folder, and loggers; a context manager.

    stopped  returns whether the run should save and stop, e.g. because of Ctrl-C.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        here: World,
        stopped: Callable[[], bool],
        loggers: Loggers,
    ) -> None:
        self._folder, self._recipe, self._here, self._stopped = folder, recipe, here, stopped
        self._loggers = loggers
        self._history: list[dict[str, Any]] = []
        self.load_reported = False  # whether a note was printed that threads waited
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def start(self, steps: int, history: Sequence[dict[str, Any]]) -> None:
        self._history = list(history)
        self._watch: LoadWatch | None = LoadWatch()  # None after the first epoch of this run
        main = self._here.first
        self._progress = self._open.enter_context(
            Progress(
                self._recipe.epochs,
                steps,
                history=history,
                images_per_step=self._recipe.batch,
                main=main,
            )
        )
        if main:
            self._loggers.start(self._history[-1]["step"] if self._history else None)

    def step(self, step: int, steps: int, loss: float | None) -> None:
        self._progress.step(step, loss)

    def epoch(self, row: dict[str, Any]) -> None:
        self._history.append(row)
        self._progress.epoch(row)
        if self._watch is not None:
            note = waiting_note(self._watch.load())
            self._watch = None
            if note and self._here.first:
                print_err(note)
                self.load_reported = True
        self._loggers.epoch(row)
        write_curves_csv(self._folder, self._history)

    def stop(self) -> bool:
        return self._stopped()


def waiting_note(load: Load) -> str:
    """Return a note, with a remedy, if threads of the training waited for a processor; else ""."""
    if load.waiting <= NOTICED:
        return ""
    return (
        f"on average {load.waiting:.1f} of the training's threads waited for a processor: other "
        "programs slowed it down; stop them, or set OMP_NUM_THREADS to the number of free "
        "processors"
    )


def print_preview(
    folder: Path, architecture: Architecture, data: Data, recipe: Recipe, here: World
) -> None:
    """Print what will be trained, on which data, with which recipe and on which device."""
    costs = cost(architecture)
    counts = [f"{len(data.train):,} training images"]
    counts += [f"{len(data.minival):,} held-out images"] if data.minival else []
    counts += [f"{len(data.test):,} test images"] if data.test else []
    device = "CPU" if here.device.type == "cpu" else str(here.device)
    if here.size > 1:
        device = f"{here.size} x {here.device.type}"
    # with pseudo-labelled images an epoch may use only a part of the images
    used = data.train.order(np.random.default_rng(0), recipe.batch).size
    length, warning = described(recipe, used), too_short(recipe, used)
    print_err(
        f"network {architecture.key}: {short(costs.flops)} FLOPs at "
        f"{architecture.resolution} px, {costs.params:,} parameters",
        f"data {data.name}: {len(data.classes)} classes, {', '.join(counts)}",
        f"recipe {recipe.name}: {length}, of batch {recipe.batch} on {device}",
        f"results go to {shell_word(f'{folder}/')}",
    )
    print_notes(data.notes)
    if warning:
        print_err(warning)
    for name in data.skipped[:5]:
        print_err(f"skipped {name}")
    if len(data.skipped) > 5:
        print_err(f"skipped {len(data.skipped)} unreadable files in all")


def write_predictions(
    folder: Path, result: Result, data: Data, recipe: Recipe, *, title: str, device: str
) -> None:
    """Write the predictions on the test split, and figures.

    Called after everything else is written. The files are test_predictions.parquet (see
    `train.predictions`) and curves.png, and for the test split (or else the minival)
    confusion.png and mistakes.png. A file that cannot be written or drawn gives a warning.
    """
    if result.history:
        draw_picture(folder / "curves.png", lambda path: draw.curves(path, result.history, title))
    split = data.test or data.minival
    if split is None or result.network is None:
        return

    def write() -> None:
        predicted = predicted_of(result, split, recipe, device)
        if split is data.test:
            write_test_predictions(folder / PREDICTIONS, split, predicted, data.classes)
        _draw_predicted(folder, split, predicted, data.classes)

    files = f"{PREDICTIONS}, confusion.png, mistakes.png"
    attempt(files, write, failed="are not all written")


def _draw_predicted(
    folder: Path, split: Split, predicted: Predicted, classes: Sequence[str]
) -> None:
    """Draw the predictions on the images of `split` as confusion.png and mistakes.png."""
    found, targets, indices = predicted
    counts = confusion_counts(found, targets)
    draw_picture(folder / "confusion.png", lambda path: draw.confusion(path, counts, classes))
    chosen = draw.worst(found, targets, MOST_MISTAKES)
    titles = []
    for place in chosen:
        true, best = classes[int(targets[place])], classes[int(found[place].argmax())]
        probability = 100 * float(found[place].max())
        title = f"true {printable(true)}, predicted {printable(best)} {probability:.0f}%"
        name = split.name(int(indices[place]))
        titles.append(title if name is None else f"{title}, {Path(name).name}")
    # each full-size image is reduced as soon as it is read, to save memory
    sheet = [draw.small(split.picture(int(indices[place]))) for place in chosen]
    draw_picture(folder / "mistakes.png", lambda path: draw.mistakes(path, sheet, titles))
