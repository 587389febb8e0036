"""What a logger is, and what it gets to know of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.logs import Row


@dataclass(frozen=True)
class Logged:
    """A training that is logged.

    folder      of its results, whose name is that of the run in a tracking tool.
    settings    options and recipe as plain data, name -> value.
    network     its architecture as JSON.
    resumed_at  the step of the checkpoint that it is resumed from; None where it begins.
    """

    folder: Path
    settings: Mapping[str, Any]
    network: str
    resumed_at: int | None = None

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.folder.resolve().name

    @property
    def project(self) -> str:
        """What the runs are called that it stands beside."""
        return self.folder.resolve().parent.name or "runs"


class Logger:
    """Writes a training somewhere. Its methods are called in this order, `epoch` once an epoch; an
    exception in any of them ends the logging, not the training."""

    def start(self, run: Logged) -> None:
        """Begin, or resume where `run.resumed_at` is set."""

    def epoch(self, row: Row) -> None:
        """The numbers of an epoch, as in curves.csv; `step` counts optimizer steps."""

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        """The end: final scores by name, in percent, and files to keep, such as figures."""

    def close(self) -> None:
        """End without an end of the training, such as at Ctrl-C; after `finish` too."""


def numbers(row: Row) -> dict[str, float]:
    """What was measured in an epoch, without its step."""
    return {
        name: float(value) for name, value in row.items() if value is not None and name != "step"
    }


def kept_id(run: Logged, tool: str) -> Path:
    """The file with the id of a run in a tracking tool, by which a resumed run continues it."""
    return run.folder / f".{tool}-run"
