"""The record of many trainings, run.json: its options and its plan; read again to resume."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from search_spaces.architecture import Architecture
from train import record
from train.ray_tune.config import RECORD, TuneConfig
from train.ray_tune.plan import Plan
from train.ray_tune.store import Store
from train.recipe import NORM_STATISTICS, Recipe, check_version
from vbs.config import ConfigError
from vbs.config_file import changed, recorded_values

# options that say how trials run; those not given again are as they were
HOW = ("address", "gpus_per_trial", "cpus_per_trial", "loaders", "workers", "retries")
NUMBER = int | float
KINDS: dict[str, Any] = {
    "minival": NUMBER,
    "split_seed": int,
    "trials": list,
    "digest": str,
    "own_epochs": bool,
    "data_settings": dict,
    "images": dict,
}
# of version 0.1, which kept everything among the settings
OLD_KINDS: dict[str, Any] = {
    "data": str,
    "data_root": str | None,
    "workers": int,
    "scheduler": str,
    "grace": int,
    "factor": NUMBER,
    "asked": str,
    "how": dict,
}
OLD_HOW: dict[str, Any] = {
    "address": str | None,
    "gpus_per_trial": NUMBER | None,
    "cpus_per_trial": NUMBER | None,
    "loaders": int | None,
    "max_concurrent": int | None,
    "retries": int | None,
}
NAME = re.compile(r"[0-9a-f]{12}-s\d+")  # a folder's: nothing that leads out of the store


def write_plan(store: Store, plan: Plan, *, status: str) -> None:
    """run.json, atomically: everything needed to run it again, and how it ended."""
    config = replace(plan.config, nodes=None)  # a resumed run waits for no nodes by itself
    known = {each.name: getattr(plan, each.name) for each in fields(plan) if each.name != "config"}
    content = record.described(config.settings(), status=status)
    content["plan"] = record.finite({**known, "norm_statistics": NORM_STATISTICS})
    store.write(RECORD, content)


def resumed_plan(
    out: str, known: Mapping[str, Any] | None, requested: Plan | None, changes: Mapping[str, Any]
) -> Plan:
    """The plan to train.

    known    run.json of the store `out`, None where there is none.
    requested  the plan of a new run, which may be that of the store; None for a resumed one.
    changes  options of a resumed run that change.

    Raises ValueError where the store holds another run than requested.
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
    """ValueError where a new run asks for something else than the one in the store."""
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
                "--resume --out alone, or choose another --out"
            )


def read_plan(out: str, known: Mapping[str, Any]) -> Plan:
    """The plan in the run.json of a store; ValueError where it is damaged or another kind's."""
    settings, parts = known.get("settings"), known.get("plan")
    old = parts is None
    parts = settings if old else parts
    if not isinstance(settings, dict) or not isinstance(parts, dict) or "split_seed" not in parts:
        raise ValueError(f"out: {out} holds a run of another kind; choose another --out")
    try:
        if old:
            _check_kinds(settings, OLD_KINDS)
            _check_kinds(settings["how"], OLD_HOW)
            parts = {"images": {}, "own_epochs": True, **settings, "digest": settings["asked"]}
        _check_kinds(parts, KINDS)
        _check_trials(parts["trials"])
        if old:
            config = _config_of_0_1(settings)
        else:
            config = TuneConfig(**recorded_values(TuneConfig, known, f"{out}/{RECORD}"))
        plan = Plan(config, **{name: parts[name] for name in KINDS})
    except ValueError as error:
        text = f"{error.name}: {error.text}" if isinstance(error, ConfigError) else str(error)
        raise ValueError(f"out: {out}/{RECORD} is damaged ({text})") from None
    check_version(parts, out)
    return plan


def _config_of_0_1(settings: Mapping[str, Any]) -> TuneConfig:
    """The options as far as version 0.1 recorded them: how a run is continued, not repeated."""
    asha, how = settings["scheduler"] == "asha", settings["how"]
    renamed = {"workers": "max_concurrent"}
    return TuneConfig(
        data=settings["data"],
        data_root=settings["data_root"],
        architectures=tuple(dict.fromkeys(trial["network"] for trial in settings["trials"])),
        scheduler=settings["scheduler"],
        processes_per_trial=settings["workers"],
        grace=settings["grace"] if asha else None,
        factor=settings["factor"] if asha else None,
        **{name: how[renamed.get(name, name)] for name in HOW},
    )


def _check_trials(trials: list[Any]) -> None:
    for index, trial in enumerate(trials):
        _check_trial(index, trial)
    if len({trial["name"] for trial in trials}) != len(trials):
        raise ValueError("trials: a name stands there twice")
    if not trials:
        raise ValueError("trials: there are none")


def _check_kinds(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if name not in values:
            raise ValueError(f"{name} is missing")
        value = values[name]
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
            raise ValueError(f"{name}: {str(value)[:60]!r} is of the wrong kind")


def _check_trial(index: int, trial: Any) -> None:
    if not isinstance(trial, dict):
        raise ValueError(f"trials[{index}] is no object")
    try:
        _check_kinds(trial, {"name": str, "network": str, "recipe": dict, "architecture": dict})
        if not NAME.fullmatch(trial["name"]):
            raise ValueError(f"name: {trial['name'][:60]!r} is no trial's")
        Architecture.from_dict(trial["architecture"])
        Recipe.from_dict(trial["recipe"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"trials[{index}]: {error}") from None
