"""Logs of a training run: curves.csv, TensorBoard, and progress on stderr.

A history is a list of rows, one for each epoch. A row holds the values of COLUMNS; values that were
not measured are missing or None. Losses are natural-log cross-entropies, accuracies are in percent,
times in seconds since the start of training.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any

from vbs.console import print_err
from vbs.folder import write_whole
from vbs.progress import Pulse, label
from vbs.tables import Console
from vbs.text import csv_cell, printable
from vbs.units import clock

Number = float | int | None
Row = Mapping[str, Number]

COLUMNS = (
    "epoch",
    "step",
    "seconds",
    "lr",
    "resolution",
    "magnitude",
    "mixup",
    "dropout",
    "train_loss",
    "val_loss",
    "val_top1",
    "val_top5",
    "ema_loss",
    "ema_top1",
    "ema_top5",
    "images_per_second",
    "memory_mb",
)

TAGS = {  # TensorBoard groups charts by the word before the slash
    "epoch": "schedule/epoch",
    "seconds": "speed/seconds",
    "lr": "schedule/lr",
    "resolution": "schedule/resolution",
    "magnitude": "schedule/magnitude",
    "mixup": "schedule/mixup",
    "dropout": "schedule/dropout",
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "val_top1": "accuracy/val_top1",
    "val_top5": "accuracy/val_top5",
    "ema_loss": "loss/ema",
    "ema_top1": "accuracy/ema_top1",
    "ema_top5": "accuracy/ema_top5",
    "images_per_second": "speed/images_per_second",
    "memory_mb": "speed/memory_mb",
}


def write_curves_csv(folder: Path, history: Sequence[Row]) -> None:
    """Write curves.csv atomically, with a line for each epoch.

    The columns are COLUMNS, then any others that rows have. Values that were not measured are
    empty; others that are not finite are "nan" or "inf". Raises OSError if it cannot be written.
    """
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in history for name in row)]))

    def fill(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(map(csv_cell, columns))
            writer.writerows([_text(row.get(name)) for name in columns] for row in history)

    write_whole(folder / "curves.csv", fill)


def read_curves_csv(folder: Path) -> list[dict[str, float | None]]:
    """Return the rows of curves.csv, with None for empty cells; [] if there is no file.

    Raises ValueError if the file is damaged.
    """
    path = folder / "curves.csv"
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [{name: float(text) if text else None for name, text in row.items()} for row in rows]
    except (TypeError, ValueError, csv.Error):
        raise ValueError(f"{path} is damaged") from None


def _text(value: Number) -> str:
    """Return a number as text; eight digits are enough for a float32."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, Integral) else f"{float(value):.8g}"


class TensorBoard:
    """A context manager that adds rows to TensorBoard's event files in a folder.

    folder      created if missing; a resumed run writes to the folder of its first part.
    resumed_at  step of the checkpoint that is resumed; earlier points after it are hidden.
    main        False in all but one process of a distributed run: nothing is written.

    Errors (no tensorboardX, a full disk) are reported once on stderr and never raised, so that they
    do not end a training. tensorboardX comes with Ray; torch.utils.tensorboard would need all of
    TensorBoard, a web server with gRPC, on the training machines. Only the file writer of
    tensorboardX is used: its SummaryWriter writes from a thread, which dies on a full disk, and the
    eleventh point then waits for it forever. One row for each epoch needs no thread.
    """

    def __init__(self, folder: Path, *, resumed_at: int | None = None, main: bool = True) -> None:
        self._folder, self._resumed_at, self._main = folder, resumed_at, main
        self._writer: Any = None

    def __enter__(self) -> TensorBoard:
        if self._main:
            try:
                self._open()
            except Exception as error:
                self._give_up(error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as failure:
                self._give_up(failure)
            self._writer = None

    def add(self, row: Row) -> None:
        """Write a row's values at its step, immediately to disk; NaN is kept, None left out."""
        if self._writer is None:
            return
        try:
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.proto.summary_pb2 import Summary

            values = [
                Summary.Value(
                    tag=TAGS.get(name, f"other/{printable(name)}"), simple_value=float(value)
                )
                for name, value in row.items()
                if value is not None and name != "step"
            ]
            step = int(row["step"] or 0)
            self._write(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
        except Exception as error:
            self._give_up(error)

    def _open(self) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._folder.mkdir(parents=True, exist_ok=True)
        # tensorboardX names files by whole seconds and empties an existing one; TensorBoard reads
        # files in the order of their names; nanoseconds solve both
        suffix = f".{time.time_ns()}"
        self._writer = EventsWriter(str(self._folder / "events"), suffix)
        if self._resumed_at is not None:
            # hides points of earlier files from this step on; the checkpoint's own step stays
            first = self._resumed_at + 1
            start = SessionLog(status=SessionLog.START)
            self._write(Event(step=first, wall_time=time.time(), session_log=start))

    def _write(self, event: Any) -> None:
        self._writer.write_event(event)
        self._writer.flush()

    def _give_up(self, error: Exception) -> None:
        self._writer = None
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print_err(f"TensorBoard: {reason}; training continues without its curves")


class Progress:
    """Progress on stderr, as a context manager.

    A terminal shows a bar. A pipe gets a line for each epoch, and at least one every half minute.
    Elapsed times are those of this run; a resumed run does not count earlier parts.

    epochs, steps    of the whole training.
    history          rows of the finished epochs of a resumed run.
    images_per_step  of all processes together; without it, the speed is that of the last row.
    main             False in all but one process of a distributed run: nothing is written.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        *,
        history: Sequence[Row] = (),
        images_per_step: int | None = None,
        main: bool = True,
    ) -> None:
        self._epochs, self._steps, self._images = epochs, steps, images_per_step
        self._main = main
        self._bar: Any = None
        self._task: Any = None
        self._row: Row = {}
        self._loss: Number = None
        self._best = -math.inf
        for row in history:
            self._learn(row)
        self._step = int(self._row.get("step") or 0)
        self._started, self._label = time.monotonic(), label()
        self._marks = [(self._started, self._step)] * 2  # start of the last two epochs
        self._next = 0.0  # time of the next redraw of the bar
        self._first, self._resumed = True, bool(history)
        self._pulse = Pulse(lambda: print_err(self._within()))

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        self._marks = [(self._started, self._step)] * 2
        if self._main and sys.stderr.isatty():
            self._bar = _bar()
        if self._bar is not None:
            self._task = self._bar.add_task(self._status(), total=self._steps)
            self._bar.start()
            self._draw(self._started)
        elif self._main:
            self._pulse.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._main:
            self._pulse.__exit__(kind, error, trace)

    def step(self, step: int, loss: float | None = None) -> None:
        """Report an optimizer step; pass `loss` only now and then, reading it synchronises."""
        if self._first:  # a run resumed within an epoch is beyond the last step of its history
            self._first, self._resumed = False, self._resumed or step > 1
            self._marks = [(self._started, step - 1)] * 2
        self._step = step
        if loss is not None:
            self._loss = loss
        if self._bar is not None and (now := time.monotonic()) >= self._next:
            self._draw(now)

    def epoch(self, row: Row) -> None:
        """Report an epoch with its row."""
        if not self._main:
            return
        self._learn(row)
        self._step = int(row.get("step") or self._step)
        now = time.monotonic()
        self._marks = [self._marks[1], (now, self._step)]
        if self._bar is not None:
            self._draw(now)
        else:
            print_err(self._line())
            self._pulse.reported()

    def _learn(self, row: Row) -> None:
        self._row = row
        self._loss = row.get("train_loss")
        for name in ("val_top1", "ema_top1"):
            accuracy = row.get(name)
            if accuracy is not None and accuracy > self._best:  # false for NaN
                self._best = accuracy

    def _left(self) -> float:
        """Return the seconds left at the speed of the last epoch and this one; NaN if unknown.

        The mean speed of the whole run would mislead: images grow in progressive learning.
        """
        began, step = self._marks[0]
        done, left = self._step - step, max(self._steps - self._step, 0)
        return (time.monotonic() - began) / done * left if done > 0 else math.nan

    def _draw(self, now: float) -> None:
        self._next = now + 0.2
        self._bar.update(self._task, completed=self._step, description=self._status())
        self._bar.refresh()

    def _status(self) -> str:
        """Return the text beside the bar; at most 80 columns with the shortest bar."""
        epoch = min(int(self._row.get("epoch") or 0) + 1, self._epochs)
        parts = [f"{self._label}epoch {epoch}/{self._epochs}", f"step {self._step:,}"]
        if self._loss is not None:
            parts.append(f"loss {self._loss:.3f}")
        began, step = self._marks[1]
        speed = self._row.get("images_per_second")
        if self._images is not None and self._step > step:
            speed = self._images * (self._step - step) / max(time.monotonic() - began, 1e-9)
        if speed is not None:
            parts.append(f"{speed:,.0f} images/s")
        if not math.isnan(left := self._left()):
            parts.append(f"{clock(left)} left")
        if math.isfinite(self._best):
            parts.append(f"best {self._best:.1f}%")
        return " ".join(parts)

    def _within(self) -> str:
        """Return a line on the progress within a long epoch."""
        epoch = min(int(self._row.get("epoch") or 0) + 1, self._epochs)
        at = f"epoch {epoch:>{len(str(self._epochs))}}/{self._epochs}, step {self._step:,}"
        parts = [f"{self._label}{at} of {self._steps:,}", self._spent()]
        if not math.isnan(left := self._left()):
            parts.append(f"{clock(left)} left")
        return ", ".join(parts)

    def _spent(self, width: int = 0) -> str:
        """Return the elapsed time of this run, marked "since --resume" if the run is resumed."""
        text = f"{clock(time.monotonic() - self._started):>{width}} elapsed"
        return f"{text} since --resume" if self._resumed else text

    def _line(self) -> str:
        """Return a line on an epoch, without values that were not measured."""
        row, width = self._row, len(str(self._epochs))
        parts = [f"{self._label}epoch {int(row.get('epoch') or 0):>{width}}/{self._epochs}"]
        if (resolution := row.get("resolution")) is not None:
            parts.append(f"{int(resolution):>3} px")
        if self._loss is not None:
            parts.append(f"loss {self._loss:.4f}")
        raw, averaged = row.get("val_top1"), row.get("ema_top1")
        if raw is not None:
            ema = "" if averaged is None else f" (ema {averaged:5.2f}%)"
            parts.append(f"minival top-1 {raw:5.2f}%{ema}")
        elif averaged is not None:
            parts.append(f"ema top-1 {averaged:5.2f}%")
        if (speed := row.get("images_per_second")) is not None:
            parts.append(f"{speed:>7,.0f} images/s")
        parts.append(self._spent(7))
        if not math.isnan(left := self._left()):
            parts.append(f"{clock(left):>7} left")
        return ", ".join(parts)


def _bar() -> Any:
    """Return a bar that is drawn only on updates; None on a terminal without cursor movement."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if console.is_dumb_terminal:
        return None
    text = TextColumn("{task.description}", markup=False)
    # stdout must not be redirected if it leads to a file
    return Bar(
        text,
        BarColumn(bar_width=None),
        console=console,
        transient=True,
        expand=True,
        auto_refresh=False,
        redirect_stdout=sys.stdout.isatty(),
    )
