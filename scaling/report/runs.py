"""Runs read from their folders: kinds, names, and groups that differ only in the seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaling.family.config import RECORD as FAMILY
from scaling.grid.config import RECORD as GRID
from scaling.training_aware.config import RECORD as AWARE
from vbs.folder import folder_problem
from vbs.json_text import parse_json
from vbs.text import quoted, shortened

RECORDS = {"search.json": "search", GRID: "grid", FAMILY: "family", AWARE: "training-aware"}
TRAINING, PARENT = "training", "search from pretrained weights"
# settings that affect how and where a run is executed, not its results
ASIDE = ("study", "storage", "workers", "cpus", "gpus", "device", "address", "cache", "loaders")
SEED = "seed"


class DamagedRun(ValueError):
    """Files of a run cannot be read; the message names them."""


@dataclass(frozen=True)
class Run:
    """A run.

    folder  its folder.
    kind    its kind, such as "search".
    record  content of its record.
    name    name that distinguishes it from other runs, see `named`.
    """

    folder: Path
    kind: str
    record: Mapping[str, Any]
    name: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Options of the run as plain data."""
        return self.record["settings"]

    @property
    def seed(self) -> Any:
        """Seed of the run; None if it has none."""
        changes = [text for text in self.settings.get("changes", ()) if text.startswith("seed=")]
        return changes[-1].partition("=")[2] if changes else self.settings.get(SEED)


def read_run(folder: Path) -> Run:
    """Read the run in a folder; raises ValueError if there is none or its record is damaged."""
    if not folder.is_dir():
        raise ValueError(f"{quoted(str(folder))} {folder_problem(folder)}; use the folder of a run")
    for name, kind in (*RECORDS.items(), ("run.json", TRAINING)):
        path = folder / name
        if not path.is_file():
            continue
        try:
            record = parse_json(path.read_bytes())
            settings, outcome = record["settings"], record.get("outcome", {})
            if not isinstance(settings, dict) or not isinstance(outcome, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path} is not the record of a run") from None
        if kind == "search" and settings.get("parent"):
            kind = PARENT
        return Run(folder, kind, record)
    raise ValueError(f"{folder} holds no run that can be compared (no {', '.join(RECORDS)})")


def named(runs: Sequence[Run], *, aside: Sequence[str] = ASIDE) -> list[Run]:
    """Return the runs with distinct names: the settings that differ, or else their folders.

    aside  settings that are not used in names.
    """
    differing = [
        name
        for name in dict.fromkeys(name for run in runs for name in run.settings)
        if name not in aside and len({_text(run, name) for run in runs}) > 1
    ]
    names = [
        ", ".join(_shown(name, run.settings.get(name)) for name in differing) or run.folder.name
        for run in runs
    ]
    if len(set(names)) < len(names) or any(len(name) > 80 for name in names):
        names = [shortened(str(run.folder), 60) for run in runs]
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs grouped by all settings except the seed, with a name for each group."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        kept = {name: value for name, value in run.settings.items() if name not in (*ASIDE, SEED)}
        kept["changes"] = [text for text in kept.get("changes", ()) if text[:5] != "seed="]
        found.setdefault(json.dumps(kept, sort_keys=True), []).append(run)
    if len(found) == 1:
        return {"all": list(runs)}
    firsts = named([each[0] for each in found.values()], aside=(*ASIDE, SEED))
    return {first.name: each for first, each in zip(firsts, found.values(), strict=True)}


def _text(run: Run, name: str) -> str:
    return json.dumps(run.settings.get(name), sort_keys=True)


def _shown(name: str, value: Any) -> str:
    """Return a setting and its value in short form; texts are shown without the name."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if isinstance(value, str) else f"{name} {shortened(text, 30)}"
