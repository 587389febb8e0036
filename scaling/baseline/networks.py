"""Networks that a baseline passes from step to step: finalists, winner, members."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.search.config import SearchConfig
from scaling.baseline.config import BaselineConfig
from search_spaces.architecture import Architecture
from search_spaces.catalog import space
from train.length import lengthened, names_epochs
from train.recipe import change, preset
from vbs.accuracy import lead_of, mean_error
from vbs.config_file import resumed
from vbs.failures import recorded_infrastructure

BATCH = 32  # batch of the timed training steps
FINALISTS = "finalists/runs"  # folder of the finalists' trainings


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it does not exist."""
    return json.loads(path.read_text()) if path.exists() else None


def best_record(folder: Path) -> Any:
    """Return the best.json of a baseline: the winner of the finalists, or of the search if the
    finalists were skipped."""
    return read_json(folder / "best.json") or read_json(folder / "search" / "best.json")


def best_networks(folder: Path, config: BaselineConfig) -> list[Architecture]:
    """Return the networks of a baseline's search with the best mean rewards, best first.

    At most `config.finalists` networks. Raises ValueError if none was trained to the end.
    """
    import pandas

    search = resumed(SearchConfig, {"space": config.space}, folder / "search.json", what="search")
    the_space = space(config.space, **search.sizes())
    table = pandas.read_parquet(folder / "history.parquet")
    names = list(the_space.choices)
    whole = table[(table["fidelity"] >= 1) & (table["error"] == "")]
    means = whole.groupby(names, observed=True)["reward"].mean().sort_values(ascending=False)
    found = []
    for key in means.index[: config.finalists]:
        options = {
            name: next(option for option in the_space.choices[name] if str(option) == str(value))
            for name, value in zip(names, key, strict=True)
        }
        network = the_space.decode(the_space.encode(options))
        assert isinstance(network, Architecture)
        found.append(network)
    if not found:
        raise ValueError(f"{folder} holds no network that was trained to the end")
    return found


def winner(folder: Path) -> dict[str, Any]:
    """Return the finalist with the best mean accuracy over seeds, in the form of a best.json."""
    rows = json.loads((folder / FINALISTS / "results.json").read_text())["trials"]
    means: dict[str, list[float]] = {}
    tests: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == "finished":
            means.setdefault(row["network"], []).append(row["minival_top1"])
            if row["test_top1"] is not None:
                tests.setdefault(row["network"], []).append(row["test_top1"])
    if not means:
        raise ValueError(f"finalists: none could be trained; see {folder / FINALISTS}")
    best = max(means, key=lambda name: float(np.mean(means[name])))
    images = _plan_of(read_json(folder / FINALISTS / "run.json") or {}).get("images") or {}
    counts = {name: images.get(name) or 0 for name in ("minival", "test")}
    lead = lead_of(list(means.values()), counts["minival"])
    networks = json.loads((folder / "finalists" / "networks.json").read_text())
    index = int(best.rpartition("[")[2].rstrip("]"))
    return {
        "architecture": networks[index],
        "accuracy": round(float(np.mean(means[best])), 3),
        "test_accuracy": round(float(np.mean(tests[best])), 3) if best in tests else None,
        "accuracy_std": _finite(mean_error(means[best], counts["minival"])),
        "test_std": _finite(mean_error(tests[best], counts["test"])) if best in tests else None,
        "certainty": f"{lead} (minival, paired error)" if lead.others else "",
        "seeds": len(means[best]),
        "finalists": {name: [round(x, 3) for x in values] for name, values in means.items()},
    }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


def affordable(
    folder: Path, config: BaselineConfig, members: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the members whose trainings fit into the time limit together, smallest first.

    The estimates use the members' measured step times. A member that was a finalist needs no
    training and costs nothing.
    """
    from train.data.summary import summarise

    assert config.data is not None
    recipe = change(preset("proxy"), config.changes)
    images = summarise(config.data, minival=recipe.minival, root=config.data_root).train
    known = _as_finalists(folder)
    if not names_epochs(config.changes):
        recipe = lengthened(recipe, images)
    left, names = config.train_time, []
    for member in members:
        each = member["measured_step_time"]["seconds"] / BATCH * images * recipe.epochs
        if member_key(folder, member["name"]) not in known:
            if each > left:
                break
            left -= each
        names.append(member["name"])
    return names


def member_key(folder: Path, name: str) -> str:
    """Return the key of a member's network in a baseline's folder."""
    known = read_json(folder / "family" / "members" / f"{name}.json")
    return Architecture.from_dict(known["architecture"]).key


def started_with(folder: Path, keys: set[str]) -> list[Path]:
    """Return the training folders of a baseline that contain any of these networks."""
    found = []
    for path in sorted(folder.glob("train/*/run.json")):
        trials = _plan_of(read_json(path))["trials"]
        if keys & {trial["name"].rpartition("-s")[0] for trial in trials}:
            found.append(path.parent)
    return found


def _plan_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the planned trainings in a record of train.ray_tune (in "settings" in version 0.1)."""
    found: Mapping[str, Any] = record.get("plan") or record.get("settings", {})
    return found


def trained_members(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results of the members that were trained or failed, by name.

    The first seed of a finalist counts as the training of the member with the same network, because
    their recipes are equal.
    """
    rows = {**_as_finalists(folder), **_ended(folder, "train/*")}
    members = (read_json(folder / "family" / "family.json") or {"members": []})["members"]
    keys = {member["name"]: member_key(folder, member["name"]) for member in members}
    return {name: rows[key] for name, key in keys.items() if key in rows}


def _as_finalists(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the finished trainings of finalists by network key; failed ones are repeated."""
    ended = _ended(folder, FINALISTS)
    return {key: row for key, row in ended.items() if row["status"] == "finished"}


def _ended(folder: Path, where: str) -> dict[str, dict[str, Any]]:
    """Return the ended trainings of the first seed in these folders, by network key."""
    return {
        row["name"].rpartition("-s")[0]: row
        for path in sorted(folder.glob(f"{where}/results.json"))
        for row in read_json(path)["trials"]
        if row["seed"] == 0 and has_ended(row)
    }


def has_ended(row: Mapping[str, Any]) -> bool:
    """Return whether a training in results.json has ended, other than by infrastructure failure."""
    if row["status"] in ("lost", "running", "interrupted", "waiting"):
        return False
    return row["status"] != "failed" or not recorded_infrastructure(row.get("reason") or "")
