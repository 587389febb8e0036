"""run.json and the names of the other files in the folder of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json

PREDICTIONS = "test_predictions.parquet"
FILES = (
    "run.json",
    "last.safetensors",
    "best.safetensors",
    "curves.csv",
    "curves.png",
    "confusion.png",
    "mistakes.png",
    PREDICTIONS,
)
PACKAGES = ("numpy", "torch", "torchvision", "timm", "safetensors")


def write_run(
    folder: Path,
    settings: Mapping[str, Any],
    training: Mapping[str, Any],
    *,
    status: str,
    **outcome: Any,
) -> None:
    """Write run.json: everything needed to repeat the run, and its outcome.

    settings  the options.
    training  the network, recipe and images that the options gave, in full.
    status    e.g. "finished".
    outcome   results of the run.
    """
    content = described(settings, status=status, **outcome)
    ahead = ("status", "settings")
    parts = {name: content.pop(name) for name in ahead}
    write_json(folder / "run.json", {**parts, "training": finite(training), **content})


def described(settings: Mapping[str, Any], *, status: str, **outcome: Any) -> dict[str, Any]:
    """Return the content of run.json."""
    return {
        "status": status,
        "settings": dict(settings),
        "outcome": finite(outcome),
        **circumstances(PACKAGES),
    }


@dataclass(frozen=True)
class RunRecord:
    """The run.json of a training or of a trial.

    status    e.g. "finished".
    data      the value of --data; "" if it is not recorded.
    training  network, recipe and images in full; version 0.1 and trials store them in the
              settings.
    outcome   results of the run.
    content   the whole file.
    """

    status: str
    data: str
    training: Mapping[str, Any]
    outcome: Mapping[str, Any]
    content: Mapping[str, Any]


def read_run(folder: Path) -> RunRecord:
    """Read the run.json of a folder; raise ValueError if it is missing or damaged."""
    path = folder / "run.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no training run (there is no run.json in it)")
    try:
        content = parse_json(path.read_bytes())
        settings, outcome = content["settings"], content["outcome"]
        if not isinstance(settings, dict) or not isinstance(outcome, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not the record of a training run") from None
    training = content.get("training")
    return RunRecord(
        str(content.get("status")),
        str(settings.get("data") or ""),
        training if isinstance(training, dict) else settings,
        outcome,
        content,
    )


def finite(value: Any) -> Any:
    """Return plain data with NaN and infinities replaced by None, for JSON."""
    if isinstance(value, Mapping):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
