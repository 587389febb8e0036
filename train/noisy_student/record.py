"""The record of a self-training, noisy_student.json: options, the student, what was found."""

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
    """A self-training in full.

    architecture, recipe  of the student.
    found                 digests of the teacher and the images, by what they are of.
    networks              of a run that is finished, its rows; None of any other.
    """

    config: NoisyStudentConfig
    architecture: Architecture
    recipe: Recipe
    found: Mapping[str, Any] = field(default_factory=dict)
    networks: Sequence[Row] | None = None

    def remembered(self, name: str, value: Any) -> SelfTraining:
        """With a digest of what was found; ValueError where another one is recorded."""
        value = json.loads(json.dumps(value))
        if self.found.get(name, value) != value:
            raise ValueError(
                f"resume: not the same {name} as before; give the same as at the start"
            )
        return dataclasses.replace(self, found={**self.found, name: value})

    def write(self, folder: Path, rows: Sequence[Row], *, status: str, failed: str = "") -> None:
        """The record in a folder, atomically; rows are the networks so far."""
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
    """The self-training in a folder, with options that change.

    Raises ValueError where there is none to resume, or it would become another one.
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
    """What a self-training needs of its teacher's run.

    data     text of its labelled images.
    minival  share of the training images that it held out.
    seed     of that split.
    digests  of the images, by split; None where they are not recorded.
    outcome  how it ended: its scores.
    """

    data: str
    minival: float
    seed: int
    digests: Mapping[str, Any] | None
    outcome: Mapping[str, Any]


def read_teacher_run(folder: str) -> TeacherRun:
    """The teacher's run; ValueError where it is not a finished one."""
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
    """How a run's images were split."""

    minival: int | float
    seed: int
    digests: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Settings01:
    """What version 0.1 kept among its settings beside the options."""

    student_architecture: dict[str, Any]
    student_recipe: dict[str, Any]
    found: dict[str, Any] = field(default_factory=dict)


def _in_this_format(content: dict[str, Any]) -> dict[str, Any]:
    """The record, also where version 0.1 wrote it, which kept everything among the settings."""
    if "student" in content:
        return content
    settings = content["settings"]
    old = typed(_Settings01, settings)
    known = kinds(NoisyStudentConfig)
    # null stood for a default that is written out now
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
