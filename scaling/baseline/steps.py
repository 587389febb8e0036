"""Steps of a baseline: each builds the config of its command and calls the command's function."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nas.search.config import COMMAND as SEARCH
from nas.search.config import SearchConfig
from nas.search.report import show_result as show_search
from nas.search.run import run_search
from scaling.baseline.chain import Chain, Step
from scaling.baseline.config import RECIPE, BaselineConfig
from scaling.baseline.networks import (
    BATCH,
    FINALISTS,
    affordable,
    best_networks,
    has_ended,
    member_key,
    started_with,
    trained_members,
    winner,
)
from scaling.family.config import COMMAND as FAMILY
from scaling.family.config import FamilyConfig
from scaling.family.report import show_result as show_family
from scaling.family.run import grow_family
from scaling.grid.config import COMMAND as GRID
from scaling.grid.config import PROXY_SIDE, GridConfig
from scaling.grid.report import show_result as show_grid
from scaling.grid.run import run_grid
from search_spaces.architecture import Architecture
from train.ray_tune.config import COMMAND as TUNE
from train.ray_tune.config import TuneConfig
from train.ray_tune.report import show_result as show_tune
from train.ray_tune.run import run_tune
from vbs.config import code_values
from vbs.console import print_err
from vbs.folder import write_json
from vbs.options import option_words, words_of


def search_config(config: BaselineConfig) -> SearchConfig:
    """Return the config of a baseline's search."""
    if config.parent is not None:
        return SearchConfig(
            parent=config.parent,
            targets=config.targets,
            target_flops=config.target_flops,
            budget=config.budget,
            finalists=config.finalists,
            repeats=config.seeds,
            changes=config.changes,
            resolution=config.resolution,
            max_time=config.max_time,
            data=config.data,
            **_how(config),
        )
    return SearchConfig(
        evaluator="proxy",
        space=config.space,
        target_flops=config.target_flops,
        reward="feasible",
        budget=config.budget,
        finalists=0,
        fidelity=config.fidelity,
        changes=config.changes,
        resolution=config.resolution,
        recipe=RECIPE,
        max_time=config.max_time,
        data=config.data,
        **_how(config),
    )


def search(chain: Chain) -> None:
    """Search for a network within the target by training on the data."""
    config, folder = search_config(chain.config), chain.folder / "search"
    changes = {**_how(chain.config), **code_values(chain.config)}
    if config.max_time is not None:
        changes["max_time"] = config.max_time

    def run(resumed: bool) -> int:
        if resumed:
            result = run_search(out=folder, resume=True, changes=changes)
        else:
            result = run_search(config, out=folder)
        show_search(result)
        return result.exit_code

    chain.run(
        Step(
            "search",
            folder,
            _says(folder / "search.json", "finished", "out of time", "exhausted"),
            run,
            [SEARCH.program, *words_of(SEARCH, config, out=folder)],
            [
                SEARCH.program,
                "--resume",
                "--out",
                str(folder),
                *option_words(SearchConfig, changes),
            ],
        )
    )


def finalists(chain: Chain) -> None:
    """Train the best networks of the search with the whole recipe; write best.json, the winner."""
    config, folder = chain.config, chain.folder / "finalists"
    networks, runs = folder / "networks.json", chain.folder / FINALISTS
    if "finalists" not in config.skip:
        folder.mkdir(exist_ok=True)
        if not networks.exists():
            if not (chain.folder / "search" / "search.json").exists():
                raise ValueError("--skip search: there is no earlier search in --out")
            _write_networks(networks, best_networks(chain.folder / "search", config))
    tuned = _tuned(config, [str(networks)], seeds=tuple(range(config.seeds)))
    over = functools.partial(_all_ended, runs)
    chain.run(
        Step(
            "finalists",
            folder,
            over,
            lambda _: _tune(tuned, runs),
            [TUNE.program, *words_of(TUNE, tuned, out=runs)],
        )
    )
    if over():
        write_json(chain.folder / "best.json", winner(chain.folder))


def _write_networks(path: Path, networks: Sequence[Architecture]) -> None:
    """Write networks as input of train.ray_tune."""
    text = json.dumps([json.loads(network.to_json()) for network in networks], indent=1)
    path.write_text(text + "\n")


def _base_of(chain: Chain) -> str:
    """Return the file of the network that grows: the winner of the finalists, or of the search."""
    for path in (chain.folder / "best.json", chain.folder / "search" / "best.json"):
        if path.exists():
            return str(path)
    raise ValueError("there is no network to grow: --skip search needs an earlier search in --out")


def _base_key(chain: Chain) -> str:
    known = json.loads(Path(_base_of(chain)).read_text())
    return Architecture.from_dict(known["architecture"]).key


def grid(chain: Chain) -> None:
    """Compare ways to grow the winner."""
    given, folder = chain.config, chain.folder / "grid"
    chain.settle("grid", _base_key(chain))
    changes = _how(given)
    side = None if given.resolution is None else min(given.resolution, PROXY_SIDE)
    config = GridConfig(
        base=_base_of(chain),
        data=given.data,
        growth=given.growth,
        seeds=given.seeds,
        candidates=given.candidates,
        fidelity=given.fidelity,
        changes=given.changes,
        recipe=RECIPE,
        proxy_resolution=side,
        **changes,
    )

    def run(resumed: bool) -> int:
        if resumed:
            result = run_grid(out=folder, resume=True, changes=changes, retry_failed=True)
        else:
            result = run_grid(config, out=folder)
        show_grid(result)
        return result if isinstance(result, int) else result.exit_code

    chain.run(
        Step(
            "grid",
            folder,
            _says(folder / "grid.json", "finished"),
            run,
            [GRID.program, *words_of(GRID, config, out=folder)],
            [
                GRID.program,
                "--resume",
                "--retry-failed",
                "--out",
                str(folder),
                *option_words(GridConfig, changes),
            ],
        )
    )


def family(chain: Chain) -> None:
    """Grow and time the members; repeat this if the grid has chosen other coefficients since."""
    given, folder = chain.config, chain.folder / "family"
    chain.settle("family", _base_key(chain))
    chosen = chain.folder / "grid" / "grid.json"
    wanted = None
    if _says(chosen, "finished")():
        wanted = json.loads(chosen.read_text())["outcome"]["chosen"]
    config = FamilyConfig(
        base=_base_of(chain),
        growth=given.growth,
        phi=(given.phi,),
        recipe=RECIPE,
        measure="step_time",
        measure_batch=BATCH,
        measure_threads=1,
        device=given.device,
        coefficients=None if wanted is None else str(chosen),
    )

    def over() -> bool:
        path = folder / "family.json"
        if not path.exists():
            return False
        known = json.loads(path.read_text())
        grown = known.get("coefficients") or known["settings"]["coefficients"]  # version 0.1
        return wanted is None or grown == wanted

    def run(_: bool) -> int:
        result = grow_family(config, out=folder)
        show_family(result)
        return result.exit_code

    if "family" not in given.skip and not over():
        shutil.rmtree(folder, ignore_errors=True)
    words = [FAMILY.program, *words_of(FAMILY, config, out=folder)]
    chain.run(Step("family", folder, over, run, words))


def train(chain: Chain) -> None:
    """Train as many members as the time allows, smallest first.

    Members that are already trained, such as finalists, are not trained again.
    """
    config, grown = chain.config, chain.folder / "family"
    if "train" in config.skip or not (grown / "family.json").exists():
        return
    members = json.loads((grown / "family.json").read_text())["members"]
    names = affordable(chain.folder, config, members)
    if not names:
        print_err("train: the time allows no member; use a larger --train-time")
        return
    wanted = {member_key(chain.folder, name) for name in names}
    for folder in started_with(chain.folder, wanted):
        _resume_training(chain, folder)
    done = trained_members(chain.folder)
    missing = [name for name in names if name not in done]
    if not missing:
        return
    keys = "-".join(member_key(chain.folder, name) for name in missing)
    folder = chain.folder / "train" / hashlib.sha256(keys.encode()).hexdigest()[:12]
    tuned = _tuned(config, [str(grown / "members" / f"{name}.json") for name in missing])
    chain.run(
        Step(
            "train",
            folder,
            functools.partial(_all_ended, folder),
            lambda _: _tune(tuned, folder),
            [TUNE.program, *words_of(TUNE, tuned, out=folder)],
        )
    )


def _resume_training(chain: Chain, folder: Path) -> None:
    """Complete the trainings that an earlier run left in its folder."""
    changes = {"data": chain.config.data, **_places(chain.config)}

    def run(_: bool) -> int:
        result = run_tune(out=folder, resume=True, changes=changes)
        show_tune(result)
        return result.exit_code

    words = [TUNE.program, "--resume", "--out", str(folder), *option_words(TuneConfig, changes)]
    chain.run(Step("train", folder, functools.partial(_all_ended, folder), run, words))


def _tune(config: TuneConfig, folder: Path) -> int:
    """Train the networks that are not trained yet in the folder; return the exit code."""
    result = run_tune(config, out=folder)
    show_tune(result)
    return result.exit_code


def _tuned(
    config: BaselineConfig, networks: Sequence[str], *, seeds: tuple[int, ...] = ()
) -> TuneConfig:
    """Return the config that trains networks from files with the whole recipe."""
    return TuneConfig(
        architectures=tuple(networks),
        data=config.data,
        recipe=RECIPE,
        seed_list=seeds,
        changes=config.changes,
        **_places(config),
    )


def _places(config: BaselineConfig) -> dict[str, Any]:
    """Return the options that were given for the place of train.ray_tune's trainings."""
    given = {
        "workers": config.workers,
        "address": config.address,
        "gpus_per_trial": config.gpus,
        "data_root": config.data_root,
    }
    return {name: value for name, value in given.items() if value is not None}


def _how(config: BaselineConfig) -> dict[str, Any]:
    """Return the options that were given for the place of the trainings of searches and grids."""
    names = ("workers", "gpus", "address", "data_root")
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    return given if config.device == "auto" else {**given, "device": config.device}


def _says(path: Path, *statuses: str) -> Callable[[], bool]:
    """Return a function that returns whether the record at `path` has one of these statuses."""

    def is_over() -> bool:
        return path.exists() and json.loads(path.read_text()).get("status") in statuses

    return is_over


def _all_ended(folder: Path) -> bool:
    """Return whether all trials of train.ray_tune in a folder have ended.

    Trials that failed because of the infrastructure have not ended.
    """
    path = folder / "results.json"
    if not _says(path, "finished")():
        return False
    return all(has_ended(row) for row in json.loads(path.read_text())["trials"])
