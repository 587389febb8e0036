"""What the command lines of this package have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.evaluators.proxy import Fidelity
from train.parser import absolute_data, check_device
from train.recipe import change, preset
from vbs.json_text import parse_json
from vbs.units import parse_seconds

# how trainings run: their defaults, all of which may be given anew when a run goes on
HOW: dict[str, Any] = {
    "workers": None, "cpus": 1.0, "gpus": None, "address": None, "device": "auto", "timeout": None,
    "max_failures": 0.5, "cache": None,
}  # fmt: skip


def add_how(add: Callable[..., Any]) -> None:
    """The arguments of `HOW`."""
    add("--workers", type=int, metavar="N", help="trainings at once (default: all that fit)")
    add("--cpus", type=float, metavar="X", help="processors of a training (default 1)")
    add("--gpus", type=float, metavar="X", help="GPUs of a training (default 1 if there are any)")
    add("--address", metavar="HOST:PORT", help="a Ray cluster, or auto")
    add("--device", metavar="NAME", help="auto (default), cpu, cuda or cuda:N")
    add("--timeout", metavar="TIME", help="after which a training fails, e.g. 15min")
    add("--max-failures", type=float, metavar="X", help="share that ends it (default 0.5)")
    add("--cache", metavar="DIR|off", help="of results that all commands share")


def checked_how(settings: dict[str, Any]) -> None:
    """Put numbers and whole paths in place of texts; ValueError names the option that is wrong."""
    for name, least in (("workers", 1), ("cpus", 0), ("gpus", 0)):
        if settings[name] is not None and not settings[name] >= least:
            raise ValueError(f"--{name}: {settings[name]} is not allowed; use {least} or more")
    recipe = change(preset(settings["recipe"]), settings["changes"])
    Fidelity.parse(settings["fidelity"] or "", epochs=recipe.epochs)
    check_device(settings["device"], local=settings["address"] is None)
    if not 0 < settings["max_failures"] <= 1:
        raise ValueError(
            f"--max-failures: {settings['max_failures']} is not allowed; use a share up to 1"
        )
    for name in ("timeout", "max_time", "max_step_time"):
        if isinstance(settings.get(name), str):
            option = "--" + name.replace("_", "-")
            settings[name] = parse_seconds(settings[name], what=option)
    settings["data"] = absolute_data(settings["data"])
    for name in ("cache", "data_root"):
        if settings[name] not in (None, "off"):
            settings[name] = str(Path(settings[name]).resolve())


def stored(
    given: Mapping[str, Any], file: str, what: str, *, known: Mapping[str, Any],
    later: Sequence[str], parsed: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:  # fmt: skip
    """The settings of the run in --out, with what is given anew.

    known, later  all settings there are with their defaults, and those that may be given anew.
    parsed        puts numbers in place of texts, in place.

    ValueError where there is no such run, it was written by another version, or it is asked to be
    another one.
    """
    if not given.get("out"):
        raise ValueError(f"resume: which {what}? give its folder as --out DIR")
    path = Path(given["out"]) / file
    if not path.is_file():
        raise ValueError(f"resume: {path.parent} holds no {what} (there is no {file} in it)")
    try:
        settings = parse_json(path.read_bytes())["settings"]
        if {*settings} != {*known}:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"resume: {path} is not the record of a {what} of this version") from None
    asked = {**known, **{name: value for name, value in given.items() if name in known}}
    parsed(asked)
    for name in given:
        if name in known and name not in later and settings[name] != asked[name]:
            option = "set" if name == "changes" else name.replace("_", "-")
            raise ValueError(
                f"resume: --{option} {given[name]} differs from the {what}'s {settings[name]}; "
                "leave it out, or start anew in another --out"
            )
    return settings | {name: asked[name] for name in given if name in later}
