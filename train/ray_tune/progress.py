"""How far many trainings are: a live table on a terminal; in a pipe a line for every tenth, and
one at least every half minute.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.ray_tune import steps as steps_actor
from train.ray_tune.certainty import HELP, doubt_among
from vbs.console import print_err
from vbs.progress import EVERY, Pulse, seconds_left, timing
from vbs.tables import Console, Table
from vbs.text import printable

LOOK = 2.0  # seconds between two looks at the steps of trials, where a live table shows them

# in the order of the table
STATUSES = ("running", "waiting", "finished", "stopped", "interrupted", "failed", "lost")


@dataclass
class Line:
    """A trial as it is shown; accuracies in percent, NaN while unknown."""

    name: str
    network: str
    status: str = "waiting"
    epoch: float = 0
    top1: float = math.nan
    best: float = math.nan
    speed: float = math.nan
    reason: str = ""


class Progress:
    """A context manager on stderr; its methods say by name what happens to the trials.

    steps   the actor of `train.ray_tune.steps`, which knows how far the trials are within epochs,
            or None.
    images  that accuracies are read on, see `train.scored.scored_images`: where trials that ended
            are at chance or within noise, that is printed once.
    """

    def __init__(
        self,
        trials: Sequence[Mapping[str, Any]],
        *,
        steps: Any = None,
        images: Mapping[str, Any] | None = None,
    ) -> None:
        self._images, self._warned = images or {}, set[str]()
        self.lines = {trial["name"]: Line(trial["name"], trial["network"]) for trial in trials}
        self._epochs = {trial["name"]: int(trial["recipe"]["epochs"]) for trial in trials}
        self._began, self._tenth, self._before = time.monotonic(), 0, 0.0
        self._live: Any = None
        self._steps = steps
        self._pulse = Pulse(self._look)

    def __enter__(self) -> Progress:
        console = Console(stderr=True)
        self._before = self._done()  # what was trained before
        self._tenth = int(10 * self._before)
        if console.is_terminal and not console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(
                console=console, refresh_per_second=4, transient=True, get_renderable=self._table
            )
            self._live.start()
        self._pulse = Pulse(self._look, every=LOOK if self._live is not None else EVERY)
        self._pulse.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pulse.__exit__(*error)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def began(self, name: str) -> None:
        """A trial runs, for the first time or again."""
        self.lines[name].status = "running"

    def row(self, name: str, row: Mapping[str, Any]) -> None:
        """An epoch of a trial is over; see `train.ray_tune.trial.progress_row`."""
        line = self.lines[name]
        line.epoch = max(line.epoch, row["epoch"])
        line.speed = row.get("images_per_second") or math.nan
        if row.get("top1") is not None:
            line.top1 = row["top1"]
            line.best = line.top1 if math.isnan(line.best) else max(line.best, line.top1)
        self._report_tenth()

    def waits(self, name: str, reason: str) -> None:
        """A trial lost its process or node and is resumed elsewhere."""
        self.lines[name].status = "waiting"
        self._print_line(f"trial {name}: {reason}; it is resumed from its last checkpoint")

    def ended(self, name: str, status: str, reason: str = "") -> None:
        """A trial is over."""
        line = self.lines[name]
        line.status, line.reason = status, reason
        if reason:
            self._print_line(f"trial {name} {status}: {reason}")
        self._warn()
        self._report_tenth()

    def _warn(self) -> None:
        over = (line for line in self.lines.values() if line.status in ("finished", "stopped"))
        tops = {line.name: line.best for line in over if not math.isnan(line.best)}
        doubt = doubt_among(tops, self._images)
        if doubt is not None and doubt.kind not in self._warned:
            self._warned.add(doubt.kind)
            self._print_line(f"warning: {doubt.text}; {HELP}")

    def _print_line(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, soft_wrap=True)
        else:
            print_err(text)

    def _report_tenth(self) -> None:
        tenth = int(10 * self._done())
        if self._live is None and tenth > self._tenth:
            self._tenth = tenth
            self._print()

    def _print(self) -> None:
        self._pulse.reported()
        percent = int(100 * self._done())
        print_err(f"{percent:>3}% {self._summary()}")

    def _look(self) -> None:
        """Learn how far the trials are within their epochs."""
        if self._steps is not None:
            for name, (step, steps) in steps_actor.read(self._steps).items():
                line = self.lines[name]
                line.epoch = max(line.epoch, self._epochs[name] * step / max(1, steps))
        if self._live is None:
            self._print()

    def _done(self) -> float:
        """The share of the epochs that is trained or need not be."""
        through = 0.0
        for name, line in self.lines.items():
            over = line.status not in ("running", "waiting")
            through += self._epochs[name] if over else line.epoch
        return through / max(1, sum(self._epochs.values()))

    def _summary(self) -> str:
        counts = Counter(line.status for line in self.lines.values())
        parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
        known = [line for line in self.lines.values() if not math.isnan(line.best)]
        if known:
            best = max(known, key=lambda line: line.best)
            parts.append(f"best {best.best:.2f}% ({best.name}, {called(best.network)})")
        spent, done = time.monotonic() - self._began, self._done()
        left = seconds_left(spent, done - self._before, 1.0 - self._before)
        return ", ".join([*parts, timing(spent, left if done < 1 else math.nan)])

    def _table(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in ("trial", "network", "epoch", "top-1", "best", "images/s"):
            table.add_column(name, justify="left" if name in ("trial", "network") else "right")
        room = max(3, Console(stderr=True).size.height - 4)
        lines = [line for line in self.lines.values() if line.status == "running"][:room]
        for line in lines:
            table.add_row(
                line.name,
                called(line.network),
                f"{line.epoch:.1f}/{self._epochs[line.name]}",
                percent(line.top1),
                percent(line.best),
                "" if math.isnan(line.speed) else f"{line.speed:,.0f}",
            )
        return Group(Text(printable(self._summary())), table)


def called(network: str) -> str:
    """A network's file or zoo name, short enough for a table."""
    return printable(Path(network).name[-30:])


def percent(value: float | None) -> str:
    """An accuracy for a table; empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.2f}%"
