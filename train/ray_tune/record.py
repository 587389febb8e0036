"""run.json of many trainings: its options and plan, and reading it to resume."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from search_spaces.architecture import Architecture
from train import record
from train.ray_tune.config import RECORD, TuneConfig
from train.ray_tune.plan import Plan
from train.ray_tune.store import Store
from train.recipe import NORM_STATISTICS, Recipe, check_version
from vbs.config import ConfigError
from vbs.config_file import changed, recorded_values, typed

# options of how trials run; when a run is resumed, those that are not given keep their values
HOW = ("address", "gpus_per_trial", "cpus_per_trial", "loaders", "workers", "retries")
NAME = re.compile(r"[0-9a-f]{12}-s\d+")  # of a folder; other names could lead out of the store


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """A plan without its config, in the form of run.json; see `Plan`."""

    minival: int | float
    split_seed: int
    trials: list[Any]
    digest: str
    own_epochs: bool
    data_settings: dict[str, Any]
    images: dict[str, Any]

    def plan(self, config: TuneConfig) -> Plan:
        return Plan(config, **{each.name: getattr(self, each.name) for each in fields(self)})


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A trial of the plan."""

    name: str
    network: str
    recipe: dict[str, Any]
    architecture: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Settings01:
    """The settings of version 0.1, which contained everything.

    workers  processes of a trial.
    asked    digest of the requested networks and recipes.
    """

    data: str
    data_root: str | None
    workers: int
    scheduler: str
    grace: int
    factor: int | float
    asked: str
    how: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _How01:
    """The settings of version 0.1 that describe how trials are run."""

    address: str | None
    gpus_per_trial: int | float | None
    cpus_per_trial: int | float | None
    loaders: int | None
    max_concurrent: int | None
    retries: int | None


def write_plan(store: Store, plan: Plan, *, status: str) -> None:
    """Write run.json atomically: everything needed to repeat the run, and its status."""
    config = replace(plan.config, nodes=None)  # a resumed run does not wait for nodes
    known = {each.name: getattr(plan, each.name) for each in fields(plan) if each.name != "config"}
    content = record.described(config.settings(), status=status)
    content["plan"] = record.finite({**known, "norm_statistics": NORM_STATISTICS})
    store.write(RECORD, content)


def resumed_plan(
    out: str, known: Mapping[str, Any] | None, requested: Plan | None, changes: Mapping[str, Any]
) -> Plan:
    """Return the plan to train.

    known      run.json of the store `out`; None if there is none.
    requested  plan of a new run, which may equal that of the store; None for a resumed run.
    changes    options of a resumed run to change.

    Raises ValueError if the store contains another run than requested.
    """
    if known is None:
        if requested is None:
            raise ValueError(f"resume: there is no {RECORD} in {out}")
        return requested
    plan = read_plan(out, known)
    if requested is None:
        return replace(plan, config=_changed(plan.config, changes))
    _check_equal(out, plan, requested)
    how = {name: getattr(requested.config, name) for name in HOW}
    given = {name: value for name, value in how.items() if value is not None}
    return replace(plan, config=replace(plan.config, **given, nodes=requested.config.nodes))


def _changed(config: TuneConfig, changes: Mapping[str, Any]) -> TuneConfig:
    stored = {name: getattr(config, name) for name in config.settings()}
    return changed(TuneConfig, stored, changes, RECORD, what="run")


def _check_equal(out: str, plan: Plan, requested: Plan) -> None:
    """Raise ValueError if a new run differs from the run in the store."""
    mine, theirs = requested.config, plan.config
    pairs = {
        name: (getattr(mine, name), getattr(theirs, name))
        for name in ("data", "data_root", "processes_per_trial", "scheduler", "grace", "factor")
    }
    pairs |= {
        name: (getattr(requested, name), getattr(plan, name)) for name in ("minival", "split_seed")
    }
    pairs["networks or recipes"] = requested.digest, plan.digest
    pairs["epochs (--set epochs)"] = requested.own_epochs, plan.own_epochs
    for what, (now, before) in pairs.items():
        by_rule = what in ("grace", "factor") and now is None
        if not by_rule and now != before:
            raise ValueError(
                f"out: {out} holds a run with other {what.replace('_', ' ')}; resume it by "
                "--resume --out alone, or use another --out"
            )


def read_plan(out: str, known: Mapping[str, Any]) -> Plan:
    """Return the plan in a store's run.json; raise ValueError if damaged or of another kind."""
    settings, parts = known.get("settings"), known.get("plan")
    old = parts is None
    parts = settings if old else parts
    if not isinstance(settings, dict) or not isinstance(parts, dict) or "split_seed" not in parts:
        raise ValueError(f"out: {out} holds a run of another kind; use another --out")
    try:
        if old:
            before = typed(_Settings01, settings)
            parts = {"images": {}, "own_epochs": True, **settings, "digest": before.asked}
        read = typed(_Parts, parts)
        trials = _read_trials(read.trials)
        if old:
            config = _config_of_0_1(before, trials)
        else:
            config = TuneConfig(**recorded_values(TuneConfig, known, f"{out}/{RECORD}"))
        plan = read.plan(config)
    except ValueError as error:
        text = f"{error.name}: {error.text}" if isinstance(error, ConfigError) else str(error)
        raise ValueError(f"out: {out}/{RECORD} is damaged ({text})") from None
    check_version(parts, out)
    return plan


def _config_of_0_1(old: _Settings01, trials: Sequence[_Trial]) -> TuneConfig:
    """Return the options that version 0.1 recorded, which are enough to resume a run."""
    asha, how = old.scheduler == "asha", typed(_How01, old.how)
    return TuneConfig(
        data=old.data,
        data_root=old.data_root,
        architectures=tuple(dict.fromkeys(trial.network for trial in trials)),
        scheduler=old.scheduler,
        processes_per_trial=old.workers,
        grace=old.grace if asha else None,
        factor=old.factor if asha else None,
        address=how.address,
        gpus_per_trial=how.gpus_per_trial,
        cpus_per_trial=how.cpus_per_trial,
        loaders=how.loaders,
        workers=how.max_concurrent,
        retries=how.retries,
    )


def _read_trials(trials: list[Any]) -> list[_Trial]:
    found = [_read_trial(index, trial) for index, trial in enumerate(trials)]
    if len({trial.name for trial in found}) != len(found):
        raise ValueError("trials: a name occurs twice")
    if not found:
        raise ValueError("trials: there are none")
    return found


def _read_trial(index: int, trial: Any) -> _Trial:
    if not isinstance(trial, dict):
        raise ValueError(f"trials[{index}] is not an object")
    try:
        found = typed(_Trial, trial)
        if not NAME.fullmatch(found.name):
            raise ValueError(f"name: {found.name[:60]!r} is not the name of a trial")
        Architecture.from_dict(found.architecture)
        Recipe.from_dict(found.recipe)
    except (ValueError, TypeError) as error:
        raise ValueError(f"trials[{index}]: {error}") from None
    return found
