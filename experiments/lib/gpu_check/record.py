"""The result file of `experiments.gpu_check`: written after every step, read to resume."""

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
    """The rows of all steps that have ended.

    settings  that all rows share: device, data, versions.
    order     names of all steps.
    rows      by name.
    """

    path: Path
    settings: Mapping[str, Any]
    order: Sequence[str]
    rows: dict[str, Row] = field(default_factory=dict)

    def take_up(self, again: Sequence[str] = ()) -> None:
        """Load the rows of an earlier run with the same settings that need not be repeated.

        again  names of steps to repeat although all have ended; the other rows are kept. If it is
               empty, a run whose steps have all ended is started from the beginning.
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
        """Add the row of a step, and write the file."""
        self.rows[row["name"]] = row
        self.write(RUNNING)

    def write(self, status: str) -> None:
        """Write the file, with the steps in order."""
        steps = [self.rows[name] for name in self.order if name in self.rows]
        content = {
            "status": status,
            "settings": self.settings,
            **settings_of_machine(),
            "steps": steps,
        }
        write_json(self.path, content)


def is_complete(row: Row) -> bool:
    """Return whether a step has ended by itself, with any outcome."""
    return row["status"] in ("passed", "failed", "measured", "ran") and not row["reason"]


def _read(path: Path) -> dict[str, Any]:
    """Return the content of an earlier file; {} if there is none or it cannot be read."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and isinstance(known.get("steps"), list) else {}
