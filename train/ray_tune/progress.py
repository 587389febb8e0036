"""How far many trainings are: what each of them has reported, and what the display shows of it."""

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

# in the order in which they are shown
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
    """A trial as it is shown; accuracies in percent, NaN while unknown."""

    name: str
    network: str
    epochs: int
    status: str = "waiting"
    epoch: float = 0
    top1: float = math.nan
    best: float = math.nan
    speed: float = math.nan

    def cells(self) -> tuple[str, ...]:
        """Of the table; see COLUMNS."""
        return (
            self.name,
            called(self.network),
            f"{self.epoch:.1f}/{self.epochs}",
            percent(self.top1),
            percent(self.best),
            "" if math.isnan(self.speed) else f"{self.speed:,.0f}",
        )


class Trials:
    """A context manager that shows trials on stderr; its methods report what happens to them.

    known   status of the trials that were over before, and rows of curve.json of all trials.
    steps   the actor of `train.ray_tune.steps`, which knows how far the trials are within epochs,
            or None.
    images  that accuracies are read on, see `train.scored.scored_images`: where trials that ended
            are at chance or within noise, that is printed once.
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
        """A trial runs, for the first time or again."""
        self.lines[name].status = "running"

    def row(self, name: str, row: Mapping[str, Any]) -> None:
        """An epoch of a trial is over; see `train.ray_tune.trial_record.progress_row`."""
        self._learn(name, row)
        self._progress.update(self._state())

    def waits(self, name: str, reason: str) -> None:
        """A trial lost its process or node and is resumed elsewhere."""
        self.lines[name].status = "waiting"
        self._progress.print(f"trial {name}: {reason}; it is resumed from its last checkpoint")

    def ended(self, name: str, status: str, reason: str = "") -> None:
        """A trial is over."""
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
        """How far the trials are, also within their epochs."""
        if self._steps is not None:
            for name, (step, steps) in steps_actor.read(self._steps).items():
                line = self.lines[name]
                line.epoch = max(line.epoch, line.epochs * step / max(1, steps))
        return self._state()

    def _state(self) -> State:
        lines = list(self.lines.values())
        over = [line for line in lines if line.status in OVER]
        # epochs that are trained or need not be
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
    """A network's file or zoo name, short enough for a table."""
    return printable(Path(network).name[-30:])


def percent(value: float | None) -> str:
    """An accuracy for a table; empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.2f}%"
