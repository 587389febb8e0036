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
from train.record import PACKAGES
from vbs.config import kinds
from vbs.config_file import changed, recorded_values
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


def _in_this_format(content: dict[str, Any]) -> dict[str, Any]:
    """The record, also where version 0.1 wrote it, which kept everything among the settings."""
    settings = content["settings"]
    if "student" in content:
        return content
    known = kinds(NoisyStudentConfig)
    # null stood for a default that is written out now
    plain = {
        name: value
        for name, value in settings.items()
        if name not in known or value is not None or known[name].optional
    }
    student = {
        "architecture": settings["student_architecture"],
        "recipe": settings["student_recipe"],
    }
    return {
        **content,
        "settings": plain,
        "student": student,
        "found": settings.get("found", {}),
        "norm_statistics": settings.get("norm_statistics"),
    }
