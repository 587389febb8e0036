"""The folder of a search: settings, then results; files are written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.evaluators.base import Evaluator
from nas.history import History
from nas.search.config import SearchConfig, same_value
from nas.storage.cache import network_key, plain
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from vbs import folder as folders
from vbs.config_file import resumed
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json
from vbs.page.parts import REPORT

FILES = ("search.json", "history.parquet", "best.json", "pareto.csv", "pareto.png", REPORT)


def results_folder(out: str | None, *, resume: bool) -> AbstractContextManager[Path]:
    """The folder of a search, owned inside the block; see `vbs.folder.results_folder`."""
    return folders.results_folder(
        out, kind="search", files=FILES, command="nas.search", resume=resume
    )


class Earlier(NamedTuple):
    """A search that is resumed: its config with what has changed, and how far it had got."""

    config: SearchConfig
    digests: dict[str, Any]
    evaluated: int
    seconds: float


def read_earlier(folder: Path, changes: Mapping[str, Any]) -> Earlier:
    """The search in a folder, with options that change; ValueError where there is none, or it
    would become another search."""
    path = folder / "search.json"
    if not path.is_file():
        raise ValueError(f"resume: {folder} holds no search (there is no search.json in it)")
    try:
        content = parse_json(path.read_bytes())
        outcome = content["outcome"]
        evaluated, seconds = outcome.get("evaluated", 0), outcome.get("seconds", 0.0)
        # the first versions kept digests among the settings
        digests = content.get("digests", content["settings"])
        if not (isinstance(evaluated, int) and isinstance(digests, dict)):
            raise TypeError
        seconds = float(seconds)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"resume: {path} is not the record of a search") from None
    config = resumed(SearchConfig, changes, path, what="search", same=same_value)
    known = {name: digests[name] for name in SearchConfig.recorded if digests.get(name)}
    return Earlier(config, known, evaluated, seconds)


def check_same(earlier: Earlier | None, config: SearchConfig, digests: Mapping[str, Any]) -> None:
    """ValueError where what a resumed search reads is not what it was begun with."""
    for name, digest in digests.items():
        if earlier is None or earlier.digests.get(name, digest) == digest:
            continue
        if name == "times_sha256":
            kinds = [kind for kind in digest if earlier.digests[name].get(kind) != digest[kind]]
            raise ValueError(
                f"resume: the {kinds[0]} table is not the one of the search; give --times"
            )
        if name == "devices_sha256":
            known = earlier.digests[name]
            changed = [device for device in digest if known.get(device) != digest[device]]
            raise ValueError(f"resume: the device {changed[0]} is not the one of the search")
        if name == "table_sha256":
            raise ValueError(f"resume: {config.table} is not the table of the search")
        raise ValueError(f"resume: {config.data} does not hold the images of the search")


def write_search(
    folder: Path, config: SearchConfig, digests: Mapping[str, Any], *, status: str, **outcome: Any
) -> None:
    """search.json: everything needed to run the search again, and how it ended."""
    content = {
        "status": status,
        "settings": config.settings(),
        "digests": dict(digests),
        "outcome": outcome,
        **circumstances(("numpy", "pyarrow", "optuna", "torch")),
    }
    write_json(folder / "search.json", content)


def sha256(path: Path) -> str:
    """Digest of a file's content; ValueError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None


def further_costs(space: SearchSpace, genotypes: np.ndarray) -> dict[str, np.ndarray]:
    """Standard deviations of the costs that are predicted, NAME_std -> float64 [n]."""
    return {f"{name}_std": each for name, each in space.cost_errors(genotypes).items()}


def best_record(history: History, row: int, evaluator: Evaluator) -> dict[str, Any]:
    """What best.json says of one evaluated network; the same search gives the same bytes."""
    space, summary = history.space, history.summary(row)
    genotype = history.genotypes[row]
    more = further_costs(space, genotype[None]) | evaluator.further(space, genotype[None])
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
        **{name: float(f"{float(values[0]):.6g}") for name, values in more.items()},
    }
