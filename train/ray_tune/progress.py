"""Progress of many trainings: their reports, and the display."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.ray_tune import steps as steps_actor
from train.ray_tune.certainty import HELP, doubt_among
from vbs.progress import Progress, State
from vbs.text import printable

# in the order of display
STATUSES = ("running", "waiting", "finished", "stopped", "interrupted", "failed", "lost")
OVER = STATUSES[2:]
COLUMNS = {
    "trial": "left",
    "network": "left",
    "epoch": "right",
    "top-1": "right",
    "best": "right",
    "images/s": "right",
}


@dataclass
class Line:
    """A trial in the display; accuracies in percent, NaN if unknown."""

    name: str
    network: str
    epochs: int
    status: str = "waiting"
    epoch: float = 0
    top1: float = math.nan
    best: float = math.nan
    speed: float = math.nan

    def cells(self) -> tuple[str, ...]:
        """Return its row of the table; see COLUMNS."""
        return (
            self.name,
            called(self.network),
            f"{self.epoch:.1f}/{self.epochs}",
            percent(self.top1),
            percent(self.best),
            "" if math.isnan(self.speed) else f"{self.speed:,.0f}",
        )


class Trials:
    """A display of trials on stderr, as a context manager; its methods report their events.

    known   status of the trials that had ended before.
    curves  rows of curve.json of all trials.
    steps   the actor of `train.ray_tune.steps` with the progress within epochs, or None.
    images  see `train.scored.scored_images`. If the accuracies of ended trials are at chance or
            within noise, a warning is printed once.
    """

    def __init__(
        self,
        trials: Sequence[Mapping[str, Any]],
        *,
        known: Mapping[str, str] | None = None,
        curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        steps: Any = None,
        images: Mapping[str, Any] | None = None,
    ) -> None:
        self._images, self._steps = images or {}, steps
        self.lines = {
            trial["name"]: Line(trial["name"], trial["network"], int(trial["recipe"]["epochs"]))
            for trial in trials
        }
        for name, status in (known or {}).items():
            self.lines[name].status = status
        for name, rows in (curves or {}).items():
            for row in rows:
                self._learn(name, row)
        self._progress = Progress(self._state(), columns=COLUMNS, look=self._look)

    def __enter__(self) -> Trials:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def began(self, name: str) -> None:
        """Report that a trial runs, for the first time or again."""
        self.lines[name].status = "running"

    def row(self, name: str, row: Mapping[str, Any]) -> None:
        """Report an epoch of a trial; see `train.ray_tune.trial_record.progress_row`."""
        self._learn(name, row)
        self._progress.update(self._state())

    def waits(self, name: str, reason: str) -> None:
        """Report that a trial has lost its process or node and will be resumed elsewhere."""
        self.lines[name].status = "waiting"
        self._progress.print(f"trial {name}: {reason}; it is resumed from its last checkpoint")

    def ended(self, name: str, status: str, reason: str = "") -> None:
        """Report that a trial has ended."""
        self.lines[name].status = status
        if reason:
            self._progress.print(f"trial {name} {status}: {reason}")
        over = (line for line in self.lines.values() if line.status in ("finished", "stopped"))
        tops = {line.name: line.best for line in over if not math.isnan(line.best)}
        doubt = doubt_among(tops, self._images)
        if doubt is not None:
            self._progress.warn(doubt.kind, f"{doubt.text}; {HELP}")
        self._progress.update(self._state())

    def _learn(self, name: str, row: Mapping[str, Any]) -> None:
        line = self.lines[name]
        line.epoch = max(line.epoch, row["epoch"])
        line.speed = row.get("images_per_second") or math.nan
        if row.get("top1") is not None:
            line.top1 = row["top1"]
            line.best = line.top1 if math.isnan(line.best) else max(line.best, line.top1)

    def _look(self) -> State:
        """Return the state of the trials, including the progress within their epochs."""
        if self._steps is not None:
            for name, (step, steps) in steps_actor.read(self._steps).items():
                line = self.lines[name]
                line.epoch = max(line.epoch, line.epochs * step / max(1, steps))
        return self._state()

    def _state(self) -> State:
        lines = list(self.lines.values())
        over = [line for line in lines if line.status in OVER]
        # epochs that are trained, or that are not needed any more
        through = sum(line.epochs if line.status in OVER else line.epoch for line in lines)
        counts = Counter(line.status for line in lines)
        notes = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
        known = [line for line in lines if not math.isnan(line.best)]
        if known:
            best = max(known, key=lambda line: line.best)
            notes.append(f"best {best.best:.2f}% ({best.name}, {called(best.network)})")
        return State(
            len(over),
            len(lines),
            "ended",
            share=through / max(1, sum(line.epochs for line in lines)),
            notes=tuple(notes),
            rows=tuple(line.cells() for line in lines if line.status == "running"),
        )


def called(network: str) -> str:
    """Return a network's file name or zoo name, shortened for a table."""
    return printable(Path(network).name[-30:])


def percent(value: float | None) -> str:
    """Return an accuracy for a table; empty if there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.2f}%"
