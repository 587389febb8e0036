"""noisy_student.json, the record of a self-training: options, student, digests and results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.architecture import Architecture
from train.noisy_student.config import RECORD, NoisyStudentConfig
from train.recipe import NORM_STATISTICS, Recipe, check_version
from train.record import PACKAGES, read_run
from vbs.config import kinds
from vbs.config_file import changed, recorded_values, typed
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SelfTraining:
    """A complete description of a self-training.

    architecture, recipe  of the student.
    found                 digests of the teacher and the images, by name.
    networks              result rows of a finished run; None otherwise.
    """

    config: NoisyStudentConfig
    architecture: Architecture
    recipe: Recipe
    found: Mapping[str, Any] = field(default_factory=dict)
    networks: Sequence[Row] | None = None

    def remembered(self, name: str, value: Any) -> SelfTraining:
        """Return a copy with a digest added; raise ValueError if another digest is recorded."""
        value = json.loads(json.dumps(value))
        if self.found.get(name, value) != value:
            raise ValueError(
                f"resume: the {name} are not the same as at the start; give the same ones"
            )
        return dataclasses.replace(self, found={**self.found, name: value})

    def write(self, folder: Path, rows: Sequence[Row], *, status: str, failed: str = "") -> None:
        """Write the record to a folder, atomically; `rows` are the networks so far."""
        content = {
            "status": status,
            "settings": self.config.settings(),
            "student": {
                "architecture": json.loads(self.architecture.to_json()),
                "recipe": self.recipe.to_dict(),
            },
            "found": dict(self.found),
            "norm_statistics": NORM_STATISTICS,
            "outcome": {"failed": failed, "networks": list(rows)},
            **circumstances(PACKAGES),
        }
        write_json(folder / RECORD, content)


def read_self_training(folder: Path, changes: Mapping[str, Any]) -> SelfTraining:
    """Return the self-training in a folder, with changed options.

    Raises ValueError if there is none to resume, or a change would make it another one.
    """
    path = folder / RECORD
    if not path.is_file():
        raise ValueError(f"{folder} holds no run of train.noisy_student (no {RECORD} in it)")
    try:
        content = _in_this_format(parse_json(path.read_bytes()))
        status, student, found = content["status"], content["student"], dict(content["found"])
        architecture, recipe = student["architecture"], student["recipe"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not the record of train.noisy_student") from None
    stored = recorded_values(NoisyStudentConfig, content, str(path))
    config = changed(NoisyStudentConfig, stored, changes, RECORD, what="run")
    networks = None
    if status == "finished":
        networks = content.get("outcome", {}).get("networks", [])
        if not all("images" in row for row in networks):
            raise ValueError(f"resume: {folder} is finished, and was written by another version")
    else:
        check_version(content, str(folder))
    return SelfTraining(
        config, Architecture.from_dict(architecture), Recipe.from_dict(recipe), found, networks
    )


@dataclass(frozen=True)
class TeacherRun:
    """The parts of a teacher's run that a self-training needs.

    data     value of --data: its labelled images.
    minival  share of the training images that it held out.
    seed     seed of that split.
    digests  of the images, by split; None if they are not recorded.
    outcome  results of the run, with its scores.
    """

    data: str
    minival: float
    seed: int
    digests: Mapping[str, Any] | None
    outcome: Mapping[str, Any]


def read_teacher_run(folder: str) -> TeacherRun:
    """Return the teacher's run; raise ValueError if it is not finished."""
    run = read_run(Path(folder))
    if run.status != "finished":
        raise ValueError(f"teacher: the run in {folder} is {run.status}; finish it first")
    try:
        split = typed(_Split, run.training.get("data_settings") or {})
    except ValueError:
        raise ValueError(f"teacher: run.json of {folder} does not describe its data") from None
    return TeacherRun(run.data, split.minival, split.seed, split.digests, run.outcome)


@dataclass(frozen=True)
class _Split:
    """The splitting of a run's images."""

    minival: int | float
    seed: int
    digests: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Settings01:
    """Settings of version 0.1 that are not options."""

    student_architecture: dict[str, Any]
    student_recipe: dict[str, Any]
    found: dict[str, Any] = field(default_factory=dict)


def _in_this_format(content: dict[str, Any]) -> dict[str, Any]:
    """Return the record in the current format; version 0.1 stored everything in the settings."""
    if "student" in content:
        return content
    settings = content["settings"]
    old = typed(_Settings01, settings)
    known = kinds(NoisyStudentConfig)
    # version 0.1 wrote null for a default that is now written out
    plain = {
        name: value
        for name, value in settings.items()
        if name not in known or value is not None or known[name].optional
    }
    return {
        **content,
        "settings": plain,
        "student": {"architecture": old.student_architecture, "recipe": old.student_recipe},
        "found": old.found,
        "norm_statistics": settings.get("norm_statistics"),
    }
