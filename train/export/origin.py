"""The origin of a network, from the records beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.checkpoint import Weights
from train.record import read_run
from vbs.json_text import parse_json

LEVELS = 4  # number of folders above the weights in which to look for the record of a search
# settings that describe a search; those of machines, paths and accounts are left out
SETTINGS = (
    "space",
    "evaluator",
    "strategy",
    "budget",
    "seed",
    "score",
    "reward",
    "exponent",
    "target_flops",
    "target_latency",
    "target_step_time",
    "targets",
    "max_flops",
    "max_params",
    "max_latency",
    "resolution",
    "width",
    "recipe",
    "fidelity",
    "scheduler",
    "finalists",
    "repeats",
)
RECIPE = ("name", "epochs", "batch", "optimizer", "lr", "weight_decay", "label_smoothing", "seed")


@dataclass(frozen=True)
class Origin:
    """Records of a network.

    network   the trained network: a published name, or the name of a file.
    parent    source of its initial weights; "" for random ones.
    data      name of the data set, without its folders.
    recipe    recipe of the training.
    hours     duration of the training; None if unknown.
    search    settings of the search that found it; {} if none is recorded.
    searched  outcome of the search: networks evaluated, hours.
    """

    network: str
    parent: str
    data: str
    recipe: Mapping[str, Any]
    hours: float | None
    search: Mapping[str, Any]
    searched: Mapping[str, Any]


def origin_of(weights: Weights, source: Path) -> Origin:
    """Return the origin from the records; fields without a record are empty."""
    content = _object(source.parent / "run.json")
    settings, outcome = _part(content, "settings"), _part(content, "outcome")
    network = str(settings.get("network") or "")
    record = _search(network, source)
    recipe = _part(weights.about, "recipe")
    return Origin(
        network=Path(network).name,
        parent=Path(str(_part(content, "training").get("initial") or "")).name,
        data=_data(weights, source),
        recipe={name: recipe[name] for name in RECIPE if name in recipe},
        hours=_hours(outcome),
        search={
            name: value
            for name, value in _part(record, "settings").items()
            if name in SETTINGS and isinstance(value, str | int | float) and value != ""
        },
        searched=_searched(_part(record, "outcome")),
    )


def _search(network: str, source: Path) -> Mapping[str, Any]:
    """Return search.json beside the network's JSON file, or in a folder above the weights."""
    places = [Path(network).parent] if network.endswith(".json") else []
    places += list(source.absolute().parents)[:LEVELS]
    return next((each for each in (_object(at / "search.json") for at in places) if each), {})


def _searched(outcome: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if outcome.get("evaluated"):
        found["networks evaluated"] = outcome["evaluated"]
    hours = _hours(outcome)
    if hours is not None:
        found["hours"] = round(hours, 2)
    return found


def _hours(outcome: Mapping[str, Any]) -> float | None:
    seconds = outcome.get("seconds")
    return seconds / 3600 if isinstance(seconds, int | float) else None


def _data(weights: Weights, source: Path) -> str:
    try:
        text = read_run(source.parent).data
    except ValueError:
        text = ""
    text = text or str(weights.about.get("data") or "")
    return Path(text.partition("?")[0].rpartition(":")[2]).name


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = content.get(name)
    return part if isinstance(part, Mapping) else {}


def _object(path: Path) -> Mapping[str, Any]:
    """Return the object of a JSON file; {} if there is none."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
