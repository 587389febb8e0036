"""The settings of a run of `python -m train.ray_tune` that goes on: those in its run.json."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any

from search_spaces.architecture import Architecture
from train.ray_asked import asked_settings, places
from train.recipe import Recipe, check_version

# these may differ when a run goes on; those not given again are as they were
HOW = (
    "address", "gpus_per_trial", "cpus_per_trial", "loaders", "max_concurrent", "retries",
)  # fmt: skip
# what was asked for when it began; the images alone may lie elsewhere now
FIXED = (
    "architectures", "recipe", "variant", "changes", "seeds", "resolution", "width", "depth",
    "small_images", "workers_per_trial", "scheduler", "grace", "factor",
)  # fmt: skip
NUMBER = int | float
KINDS: dict[str, Any] = {
    "data": str, "data_root": str | None, "minival": NUMBER, "split_seed": int, "workers": int,
    "scheduler": str, "grace": int, "factor": NUMBER, "trials": list, "asked": str, "how": dict,
    "data_settings": dict,
}  # fmt: skip
HOW_KINDS: dict[str, Any] = {
    "address": str | None, "gpus_per_trial": NUMBER | None, "cpus_per_trial": NUMBER | None,
    "loaders": int | None, "max_concurrent": int | None, "retries": int | None,
}  # fmt: skip
NAME = re.compile(r"[0-9a-f]{12}-s\d+")  # a folder's: nothing that leads out of the store


def asked_or_none(args: argparse.Namespace) -> dict[str, Any] | None:
    """What the arguments ask for; None for a run that goes on, which must not ask for anything."""
    if not args.resume:
        return asked_settings(args)
    for name in FIXED:
        if getattr(args, name) not in (None, False):
            option = "--set" if name == "changes" else "--" + name.replace("_", "-")
            raise ValueError(f"resume: leave out {option}; run.json knows it")
    if not args.out:
        raise ValueError("resume: which run? give its place as --out")
    return None


# settings by the words that users know
READABLE = {"asked": "networks or recipes", "own_epochs": "epochs (--set epochs)"}


def settings_of(
    args: argparse.Namespace, known: Mapping[str, Any] | None, asked: dict[str, Any] | None
) -> dict[str, Any]:
    """The settings to go by; ValueError where the store holds another run than is asked for."""
    if known is None:
        if asked is None:
            raise ValueError(f"resume: there is no run.json in {args.out}")
        return asked
    settings = _checked(args.out, known)
    check_version(settings, args.out)
    for name, value in (asked or {}).items():
        by_rule = name == "grace" and value is None
        if name != "trials" and not by_rule and json.loads(json.dumps(value)) != settings[name]:
            what = READABLE.get(name, name)
            raise ValueError(
                f"out: {args.out} holds a run with other {what}; go on with it by --resume "
                "--out alone, or choose another --out"
            )
    if asked is None:  # the images may lie elsewhere; that they are the same is checked
        settings |= {name: place for name, place in places(args).items() if place is not None}
    for name in HOW:
        if getattr(args, name) is None:
            setattr(args, name, settings["how"][name])
    return settings


def _checked(out: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in run.json, all there and of the right kind."""
    settings = known.get("settings")
    if not isinstance(settings, dict) or "split_seed" not in settings:
        raise ValueError(f"out: {out} holds a run of another kind; choose another --out")
    try:
        _check_kinds(settings, KINDS)
        _check_kinds(settings["how"], HOW_KINDS)
        _check_kinds({"images": {}, **settings}, {"images": dict})  # earlier versions have none
        if settings["scheduler"] not in ("asha", "fifo"):
            raise ValueError(f"scheduler: {settings['scheduler']!r}")
        if settings["workers"] < 1 or settings["grace"] < 1 or not settings["factor"] > 1:
            raise ValueError("workers, grace or factor: too small")
        for index, trial in enumerate(settings["trials"]):
            _check_trial(index, trial)
        if len({trial["name"] for trial in settings["trials"]}) != len(settings["trials"]):
            raise ValueError("trials: a name stands there twice")
        if not settings["trials"]:
            raise ValueError("trials: there are none")
    except ValueError as error:
        raise ValueError(f"out: {out}/run.json is damaged ({error})") from None
    return settings


def _check_kinds(fields: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if name not in fields:
            raise ValueError(f"{name} is missing")
        if isinstance(fields[name], bool) or not isinstance(fields[name], kind):
            raise ValueError(f"{name}: {str(fields[name])[:60]!r} is of the wrong kind")


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
