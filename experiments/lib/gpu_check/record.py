"""The result file of `experiments.gpu_check`: written after every step, read to continue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.lib.common import settings_of_machine
from experiments.lib.gpu_check.process import Row
from vbs.folder import write_json

RUNNING, FINISHED = "running", "finished"


@dataclass
class Record:
    """What is known of the steps.

    settings  that rows must share: device, data, versions.
    order     names of all steps.
    rows      by name.
    """

    path: Path
    settings: Mapping[str, Any]
    order: Sequence[str]
    rows: dict[str, Row] = field(default_factory=dict)

    def take_up(self, again: Sequence[str] = ()) -> None:
        """The rows of an earlier run of the same settings that need not be repeated.

        again  names of steps that are repeated, though all have ended: the others' rows are kept.
               Without any, a run whose every step has ended is started anew.
        """
        known = _read(self.path)
        if known.get("settings") != json.loads(json.dumps(self.settings)):
            return
        if known.get("status") == FINISHED and not again:
            return
        for row in known["steps"]:
            if row["name"] in self.order and row["name"] not in again and is_complete(row):
                self.rows[row["name"]] = row

    def add(self, row: Row) -> None:
        """Note the row of a step, and write the file."""
        self.rows[row["name"]] = row
        self.write(RUNNING)

    def write(self, status: str) -> None:
        """Write the file, the steps in their order."""
        steps = [self.rows[name] for name in self.order if name in self.rows]
        content = {
            "status": status,
            "settings": self.settings,
            **settings_of_machine(),
            "steps": steps,
        }
        write_json(self.path, content)


def is_complete(row: Row) -> bool:
    """Whether a step has ended by itself, with whatever outcome."""
    return row["status"] in ("passed", "failed", "measured", "ran") and not row["reason"]


def _read(path: Path) -> dict[str, Any]:
    """The content of an earlier file; {} where there is none that can be read."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and isinstance(known.get("steps"), list) else {}
