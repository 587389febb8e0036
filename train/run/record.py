"""The run.json of a training: its options, and the network, recipe and images they gave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture
from train import record
from train.recipe import Recipe
from train.run.config import COMMAND, RECORD, TrainConfig
from vbs.command import module_command
from vbs.config import from_values
from vbs.config_file import changed, recorded_values, typed
from vbs.options import read_request

if TYPE_CHECKING:
    from train.data import Data


@dataclass(frozen=True)
class Training:
    """A complete description of a training.

    data_settings  settings of the images, as in `train.data.Data`; None before they are loaded.
    processes      number of processes that train together.
    initial        source of the initial weights; "" for random ones.
    noisy_student  for a student: its round, its teacher and the labelling of its images.
    """

    config: TrainConfig
    architecture: Architecture
    recipe: Recipe
    data_settings: Mapping[str, Any] | None = None
    processes: int = 1
    initial: str = ""
    noisy_student: Mapping[str, Any] | None = None

    def command(self, *words: str) -> str:
        """Return the command line that calls train.run on the same number of processes."""
        start = ["torch.distributed.run", f"--nproc-per-node={self.processes}", "-m"]
        return module_command([*(start if self.processes > 1 else ()), COMMAND.program, *words])

    def write(self, folder: Path, *, status: str, **outcome: Any) -> None:
        """Write run.json to a folder, atomically."""
        training = {
            "architecture": json.loads(self.architecture.to_json()),
            "recipe": self.recipe.to_dict(),
            "data_settings": self.data_settings,
            "processes": self.processes,
            "initial": self.initial,
        }
        if self.noisy_student is not None:
            training["noisy_student"] = dict(self.noisy_student)
        record.write_run(folder, self.config.settings(), training, status=status, **outcome)


def read_training(folder: Path, changes: Mapping[str, Any]) -> Training:
    """Return the training in a folder to resume, with changed options.

    Raises ValueError if there is none to resume, or a change would make it another training.
    """
    run = record.read_run(folder)
    training = run.training
    if "noisy_student" in training:
        raise ValueError(
            f"resume: {folder} is a student; resume it by train.noisy_student --resume"
        )
    stored = _stored(run, folder)
    config = changed(TrainConfig, stored, changes, RECORD, what="run")
    try:
        return Training(
            config,
            Architecture.from_dict(training["architecture"]),
            Recipe.from_dict(training["recipe"]),
            training.get("data_settings"),
        )
    except KeyError as error:
        raise ValueError(f"resume: run.json lacks {error}") from None


@dataclass(frozen=True)
class _Settings01:
    """The settings of version 0.1, which stored the words of its command line.

    data, device, data_root  values after any changes by a resumed run.
    """

    arguments: list[str]
    recipe: dict[str, Any]
    data: str
    device: str
    data_root: str | None


def _stored(run: record.RunRecord, folder: Path) -> dict[str, Any]:
    """Return the values of the options by name."""
    if "training" in run.content:
        return recorded_values(TrainConfig, run.content, str(folder / RECORD))
    try:
        old = typed(_Settings01, run.training)
    except ValueError:
        raise ValueError(f"resume: {folder} was written by another version of train.run") from None
    given = read_request(COMMAND, old.arguments).values
    places = {"data": old.data, "device": old.device, "data_root": old.data_root}
    config = from_values(TrainConfig, {**given, **places})
    return {name: getattr(config, name) for name in config.settings()}


def check_same(stored: Mapping[str, Any] | None, data: Data) -> None:
    """Raise ValueError if a resumed run would continue with other images."""
    for name, value in (stored or {}).items():
        now = data.settings.get(name)
        if name not in ("source", "split") and json.loads(json.dumps(now)) != value:
            raise ValueError(
                f"resume: {data.name} is not the run's data ({name} was {value}, is {now})"
            )
