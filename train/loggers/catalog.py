"""The loggers by their names in `--log`, the user's own, and the combination of several."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from train.loggers.base import Logged, Logger
from vbs.console import print_err
from vbs.options import load
from vbs.plugins import call_with, is_reference, load_object
from vbs.text import shortened

if TYPE_CHECKING:
    from train.logs import Row


class Entry(NamedTuple):
    """A logger.

    path       "module:class".
    package    package that it needs; "" for none.
    server     environment variable that names its server. Without it, the records are stored beside
               the folder of the training. "": it needs none.
    resumable  whether it stores the id of its run in a file, see `train.loggers.base.id_file`.
    """

    path: str
    package: str = ""
    server: str = ""
    resumable: bool = False


LOGGERS = {
    "tensorboard": Entry("train.loggers.tensorboard:TensorBoardLogger"),
    "mlflow": Entry(
        "train.loggers.mlflow:MlflowLogger",
        "mlflow",
        server="MLFLOW_TRACKING_URI",
        resumable=True,
    ),
    "wandb": Entry("train.loggers.wandb:WandbLogger", "wandb", resumable=True),
    "trackio": Entry("train.loggers.trackio:TrackioLogger", "trackio"),
    "csv": Entry("train.loggers.base:Logger"),  # nothing to do: curves.csv is always written
}


def check_installed(names: Sequence[str]) -> None:
    """Raise ValueError if the package of a logger is not installed; nothing is imported."""
    for name in names:
        package = LOGGERS[name].package if name in LOGGERS else ""
        if package and importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--log: {package} is not installed; pip install 'vision-baseline-search[{name}]'"
            )


def check_servers(names: Sequence[str]) -> None:
    """Raise ValueError for a logger without a server whose records would be lost.

    Call it if the folder of the training is temporary.
    """
    for name in names:
        server = LOGGERS[name].server if name in LOGGERS else ""
        if server and server not in os.environ:
            raise ValueError(f"log: {name} needs a server if the results go to a URL; set {server}")


def import_own(names: Sequence[str]) -> None:
    """Import the user's own loggers, so that a mistake ends a command before it trains.

    Raises ValueError if there is no such module, file or name, or if importing it fails.
    """
    for name in names:
        if is_reference(name, LOGGERS):
            load_object(name, what="log")


def make_logger(name: str) -> Logger:
    """Return a new logger.

    name  a key of LOGGERS; "package.module:Name" or "path/to/file.py:Name" for your own: a
          subclass of `Logger` or a function that returns a logger, without arguments.

    Raises ValueError if your code cannot be imported, fails, or returns something else.
    """
    if not is_reference(name, LOGGERS):
        return load(LOGGERS[name].path)()
    made = call_with(load_object(name, what="log"), what="log")
    if not isinstance(made, Logger):
        raise ValueError(f"log: {name} is not a train.loggers.base.Logger")
    return made


class Loggers:
    """Several loggers as one; a context manager that closes them.

    A logger that fails is reported and left out.

    names  of loggers, see `make_logger`.
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
        for name in self._names:
            with self._reported(name):
                self._open[name] = make_logger(name)
        self._each(lambda logger: logger.start(run))

    def epoch(self, row: Row) -> None:
        """Log the values of an epoch."""
        self._each(lambda logger: logger.epoch(row))

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        """Log the final scores, and files to keep."""
        self._each(lambda logger: logger.finish(scores, files))

    def _each(self, action: Callable[[Logger], None]) -> None:
        for name, logger in list(self._open.items()):
            with self._reported(name):
                action(logger)

    @contextlib.contextmanager
    def _reported(self, name: str) -> Iterator[None]:
        """Report an exception of a logger and leave it out."""
        try:
            yield
        except Exception as error:  # errors of a network, a server or a disk in any tool
            self._open.pop(name, None)
            reason = shortened(" ".join(f"{type(error).__name__}: {error}".split()), 200)
            print_err(f"warning: --log {name} failed ({reason}); training continues without it")
