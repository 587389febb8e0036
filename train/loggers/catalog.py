"""The loggers by their names in `--log`, and the combination of several."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from train.loggers.base import Logged, Logger
from train.logs import Row
from vbs.console import print_err
from vbs.options import load
from vbs.text import one_of, shortened


class Entry(NamedTuple):
    """A logger: "module:class", and the package that it needs ("" for none)."""

    path: str
    package: str = ""


LOGGERS = {
    "tensorboard": Entry("train.loggers.tensorboard:TensorBoardLogger"),
    "mlflow": Entry("train.loggers.mlflow:MlflowLogger", "mlflow"),
    "wandb": Entry("train.loggers.wandb:WandbLogger", "wandb"),
    "trackio": Entry("train.loggers.trackio:TrackioLogger", "trackio"),
    "csv": Entry("train.loggers.base:Logger"),  # nothing to do: curves.csv is always written
}


def check_loggers(names: Sequence[str]) -> None:
    """Raise ValueError for an unknown name or a package that is not installed."""
    for name in names:
        one_of("--log", name, LOGGERS)
        package = LOGGERS[name].package
        if package and importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--log: {package} is not installed; pip install 'vision-baseline-search[{name}]'"
            )


class Loggers:
    """Several loggers as one; a context manager that closes them.

    A logger that fails is reported and left out.

    names  keys of LOGGERS.
    run    the training to log.
    """

    def __init__(self, names: Sequence[str], run: Logged) -> None:
        self._names, self._run = tuple(dict.fromkeys(names)), run
        self._open: dict[str, Logger] = {}

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._each(lambda logger: logger.close())

    def start(self, resumed_at: int | None) -> None:
        """Start the loggers; resumed_at: step of the checkpoint, None for a new training."""
        run = replace(self._run, resumed_at=resumed_at)
        self._open = {name: load(LOGGERS[name].path)() for name in self._names}
        self._each(lambda logger: logger.start(run))

    def epoch(self, row: Row) -> None:
        """Log the values of an epoch."""
        self._each(lambda logger: logger.epoch(row))

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        """Log the final scores, and files to keep."""
        self._each(lambda logger: logger.finish(scores, files))

    def _each(self, action: Callable[[Logger], None]) -> None:
        for name, logger in list(self._open.items()):
            try:
                action(logger)
            except Exception as error:  # errors of a network, a server or a disk in any tool
                del self._open[name]
                reason = shortened(" ".join(f"{type(error).__name__}: {error}".split()), 200)
                print_err(f"warning: --log {name} failed ({reason}); training continues without it")
