"""Base class of loggers, and the description of a training that they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.logs import Row


@dataclass(frozen=True)
class Logged:
    """A training to log.

    folder      folder of its results.
    settings    options and recipe as plain data, name -> value.
    network     architecture as JSON.
    resumed_at  step of the checkpoint from which it is resumed; None for a new run.
    name        name of the run in a tracking tool; "": that of the folder.
    project     name of the project there; "": that of the folder which contains `folder`.
    """

    folder: Path
    settings: Mapping[str, Any]
    network: str
    resumed_at: int | None = None
    name: str = ""
    project: str = ""

    def __post_init__(self) -> None:
        place = self.folder.resolve()
        object.__setattr__(self, "name", self.name or place.name)
        object.__setattr__(self, "project", self.project or place.parent.name or "runs")


class Logger:
    """Base class of loggers; it logs nothing.

    The methods are called in this order, `epoch` after each epoch. An exception in any of them ends
    the logging but not the training.
    """

    def start(self, run: Logged) -> None:
        """Start a run, or resume it if `run.resumed_at` is set."""

    def epoch(self, row: Row) -> None:
        """Log the values of an epoch, as in curves.csv; `step` counts optimizer steps."""

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        """Log the final scores by name, in percent, and files to keep, e.g. figures."""

    def close(self) -> None:
        """End the logging; called after `finish`, or without it, e.g. after Ctrl-C."""


def numbers(row: Row) -> dict[str, float]:
    """Return the measured values of an epoch, without its step."""
    return {
        name: float(value) for name, value in row.items() if value is not None and name != "step"
    }


def id_file(tool: str) -> str:
    """Return the name of the file with the id of a run in a tracking tool.

    A resumed training continues this run. The file is in the folder of the training.
    """
    return f".{tool}-run"
