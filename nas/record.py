"""The folder of a search: settings first, then results; each file appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from nas.history import History
from nas.settings import without_password
from nas.storage.cache import network_key, plain
from search_spaces.architecture import Architecture
from vbs import folder as folders
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json

FILES = ("search.json", "history.parquet", "best.json", "pareto.csv", "pareto.png")


def results_folder(out: str | None, *, resume: bool) -> AbstractContextManager[Path]:
    """The folder of a search, owned inside the block; see `vbs.folder.results_folder`."""
    return folders.results_folder(
        out, kind="search", files=FILES, command="nas.search", resume=resume
    )


def read_record(folder: Path) -> dict[str, Any]:
    """search.json of a folder to resume, its settings and outcome; ValueError where it is none."""
    path = folder / "search.json"
    if not path.is_file():
        raise ValueError(f"resume: {folder} holds no search (there is no search.json in it)")
    try:
        content = parse_json(path.read_bytes())
        outcome = content["outcome"]
        evaluated = outcome.get("evaluated", 0) if isinstance(outcome, dict) else None
        if not isinstance(content["settings"], dict) or not isinstance(evaluated, int):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"resume: {path} is not the record of a search") from None
    return content


def write_search(folder: Path, settings: Mapping[str, Any], *, status: str, **outcome: Any) -> None:
    """search.json: everything needed to run the search again, and how it ended."""
    content = {
        "status": status, "settings": without_password(settings), "outcome": outcome,
        **circumstances(("numpy", "pyarrow", "optuna", "torch")),
    }  # fmt: skip
    write_json(folder / "search.json", content)


def sha256(path: Path) -> str:
    """Digest of a file's content; ValueError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None


def best_record(history: History, row: int) -> dict[str, Any]:
    """What best.json says of one evaluated network; the same search gives the same bytes."""
    space, summary = history.space, history.summary(row)
    genotype = history.genotypes[row]
    choices, network = space.choices_of(genotype), space.decode(genotype)
    if isinstance(network, Architecture):
        architecture, key = json.loads(network.to_json()), network.key
    else:
        architecture, key = None, network_key(space, genotype)
    return {
        "architecture": architecture,
        "key": key,
        "choices": {name: plain(option) for name, option in choices.items()},
        **{name: history.costs.get(name)[row].item() for name in history.space.cost_names},
        # rounded: the last digits of a sum differ between processors
        "accuracy": round(summary.accuracy, 6),
        "accuracy_std": None if np.isnan(summary.std) else round(summary.std, 6),
        "reward": round(summary.reward, 6),
        "evaluations": summary.evaluations,
    }
