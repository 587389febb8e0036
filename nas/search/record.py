"""The record of a search: search.json, and the content of best.json.

Files are written atomically.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.evaluators.base import Evaluator
from nas.history import Cut, History
from nas.search.config import SearchConfig, same_value
from nas.storage.cache import network_key, plain
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from vbs import folder as folders
from vbs.config_file import resumed, typed
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json
from vbs.page.parts import REPORT

FILES = ("search.json", "history.parquet", "best.json", "pareto.csv", "pareto.png", REPORT)


def results_folder(out: str | None, *, resume: bool) -> AbstractContextManager[Path]:
    """Open and lock the folder of a search; see `vbs.folder.results_folder`."""
    return folders.results_folder(
        out, kind="search", files=FILES, command="nas.search", resume=resume
    )


class Earlier(NamedTuple):
    """A search that is resumed.

    config     its config, with the changes.
    digests    digests of the tables and images that it read.
    evaluated  number of evaluations so far.
    seconds    time so far.
    cut        last batch if the budget cut off its end.
    """

    config: SearchConfig
    digests: dict[str, Any]
    evaluated: int
    seconds: float
    cut: Cut | None = None


def read_earlier(folder: Path, changes: Mapping[str, Any]) -> Earlier:
    """Read the search in a folder, and apply changes to its options.

    Raises ValueError if there is no search, or if a change would make it a different search.
    """
    path = folder / "search.json"
    if not path.is_file():
        raise ValueError(f"resume: {folder} holds no search (there is no search.json in it)")
    try:
        content = parse_json(path.read_bytes())
        outcome = content["outcome"]
        evaluated, seconds = outcome.get("evaluated", 0), outcome.get("seconds", 0.0)
        # the first versions stored the digests in the settings
        digests = content.get("digests", content["settings"])
        if not (isinstance(evaluated, int) and isinstance(digests, dict)):
            raise TypeError
        seconds = float(seconds)
        cut = typed(Cut, outcome["cut"]) if outcome.get("cut") else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"resume: {path} is not the record of a search") from None
    config = resumed(SearchConfig, changes, path, what="search", same=same_value)
    known = {name: digests[name] for name in SearchConfig.recorded if digests.get(name)}
    return Earlier(config, known, evaluated, seconds, cut)


def check_same(earlier: Earlier | None, config: SearchConfig, digests: Mapping[str, Any]) -> None:
    """Raise ValueError if tables, devices or images of a resumed search have changed."""
    for name, digest in digests.items():
        if earlier is None or earlier.digests.get(name, digest) == digest:
            continue
        if name == "times_sha256":
            kinds = [kind for kind in digest if earlier.digests[name].get(kind) != digest[kind]]
            raise ValueError(
                f"resume: the {kinds[0]} table is not that of the search; use --times FILE"
            )
        if name == "devices_sha256":
            known = earlier.digests[name]
            changed = [device for device in digest if known.get(device) != digest[device]]
            raise ValueError(
                f"resume: the device {changed[0]} is not that of the search; restore its file"
            )
        if name == "table_sha256":
            raise ValueError(
                f"resume: {config.table} is not the table of the search; use --table FILE"
            )
        raise ValueError(f"resume: {config.data} does not contain the images of the search")


def write_search(
    folder: Path, config: SearchConfig, digests: Mapping[str, Any], *, status: str, **outcome: Any
) -> None:
    """Write search.json: the settings, from which the search can be repeated, and its outcome."""
    content = {
        "status": status,
        "settings": config.settings(),
        "digests": dict(digests),
        "outcome": outcome,
        **circumstances(("numpy", "pyarrow", "optuna", "torch")),
    }
    write_json(folder / "search.json", content)


def sha256(path: Path) -> str:
    """Return the digest of a file; raises ValueError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None


def further_costs(space: SearchSpace, genotypes: np.ndarray) -> dict[str, np.ndarray]:
    """Return standard deviations of predicted costs, NAME_std -> float64 [n]."""
    return {f"{name}_std": each for name, each in space.cost_errors(genotypes).items()}


def best_record(history: History, row: int, evaluator: Evaluator) -> dict[str, Any]:
    """Return the content of best.json for a row of the history; it is reproducible."""
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
