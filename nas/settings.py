"""Everything a search can be told: what it is by default, what it may be, what may change later."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from nas.objective import Objective
from nas.storage.passwords import escaped_url
from search_spaces.cost import MEASURED
from train.parser import FACTORS, absolute_data
from vbs.command import LIMITS
from vbs.text import quoted, shortened
from vbs.units import LARGEST, LONGEST, parse_quantity, parse_seconds

MOST = 10**9  # evaluations; a history of more does not fit into memory

NUMBER = (int, float)


class Setting(NamedTuple):
    """One setting.

    default  where the user says nothing.
    kinds    what it may be in a record; None is always allowed where it is the default.
    later    whether it may be given anew when a search goes on: it says how, not what.
    """

    default: Any
    kinds: type | tuple[type, ...] = str
    later: bool = False


AIMS: dict[str, Setting] = {
    "target_flops": Setting(None, NUMBER),
    "target_latency": Setting(None, NUMBER),
    "target_step_time": Setting(None, NUMBER),
    "max_flops": Setting(None, NUMBER),
    "max_params": Setting(None, NUMBER),
    "max_latency": Setting(None, NUMBER),
    "max_step_time": Setting(None, NUMBER),
    "times": Setting([], list, later=True),
    "space": Setting(None),
    "resolution": Setting(None, int),
    "classes": Setting(None, int),
    "width": Setting(1.0, NUMBER),
    "small_images": Setting(None, bool),
    "strategy": Setting(None),
    "evaluator": Setting("surrogate"),
    "table": Setting(None, later=True),
    "table_column": Setting("accuracy"),
    "reward": Setting("mnas"),
    "exponent": Setting(None, NUMBER),
    "also": Setting([], list),
    "over_target": Setting("forbid"),
    "budget": Setting(None, int, later=True),
    "seed": Setting(0, int),
}

# of searches by measurement only
MEASURING: dict[str, Setting] = {
    "data": Setting(None, later=True),
    "data_root": Setting(None, later=True),
    "recipe": Setting("proxy"),
    "changes": Setting([], list),
    "fidelity": Setting(None),
    "scheduler": Setting("asha"),
    "grace": Setting(None, int),
    "factor": Setting(3.0, NUMBER),
    "scores": Setting(None),
    "finalists": Setting(3, int),
    "repeats": Setting(3, int),
    "max_failures": Setting(0.5, NUMBER, later=True),
    "workers": Setting(None, int, later=True),
    "cpus": Setting(1.0, NUMBER, later=True),
    "gpus": Setting(None, NUMBER, later=True),
    "address": Setting(None, later=True),
    "device": Setting("auto", later=True),
    "timeout": Setting(None, NUMBER, later=True),
    "max_time": Setting(None, NUMBER, later=True),
    "cache": Setting(None, later=True),
    "checkpoints": Setting(None, later=True),
    "storage": Setting(None, later=True),
    "study": Setting("search", later=True),
}

# of those that train
TRAINING = ("fidelity", "scheduler", "grace", "factor", "finalists", "repeats", "checkpoints")

SETTINGS = {**AIMS, **MEASURING}

# found out when the search begins, and checked when it goes on
DIGESTS = ("table_sha256", "data_sha256", "times_sha256")

SIZES = ("target_flops", "max_flops", "max_params")
TIMES = ("target_latency", "target_step_time", "max_latency", "max_step_time", "timeout",
         "max_time")  # fmt: skip


# the least and the most that numbers may be
RANGES: dict[str, tuple[float, float]] = {
    "workers": (1, MOST), "finalists": (0, MOST), "repeats": (1, MOST), "cpus": (0, MOST),
    "gpus": (0, MOST), "seed": (0, 2**63), "grace": (1, MOST), "max_failures": (0, 1),
    "exponent": (-100, 100), "factor": FACTORS, "budget": (1, MOST), "width": LIMITS["width"],
    **dict.fromkeys(SIZES, (0, LARGEST)), **dict.fromkeys(TIMES, (0, LONGEST)),
}  # fmt: skip


def option(name: str) -> str:
    """As the user types it."""
    return f"--{'set' if name == 'changes' else name.replace('_', '-')}"


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as plain numbers; ValueError names the argument that is none."""
    found = dict(given)
    for name in SIZES:
        if name in given:
            found[name] = parse_quantity(given[name], what=option(name))
    for name in TIMES:
        if name in given:
            found[name] = parse_seconds(given[name], what=option(name))
    if "budget" in given:
        budget = parse_quantity(given["budget"], what="--budget")
        if budget != int(budget) or budget > MOST:
            raise ValueError(
                f"--budget: {shortened(repr(given['budget']), 60)} is not a whole number up to 1G"
            )
        found["budget"] = int(budget)
    # a resumed search may be started from elsewhere, and workers work elsewhere
    for name in ("table", "data_root", "checkpoints"):
        if name in given:
            found[name] = str(Path(given[name]).resolve())
    if given.get("cache", "off") != "off":
        found["cache"] = str(Path(given["cache"]).resolve())
    if "times" in given:
        found["times"] = [str(Path(path).resolve()) for path in given["times"]]
    if "data" in given:
        found["data"] = absolute_data(given["data"])
    if "storage" in given:
        found["storage"] = escaped_url(given["storage"])
    if given.get("storage", "").startswith("sqlite:///"):
        file = given["storage"].removeprefix("sqlite:///")
        found["storage"] = f"sqlite:///{Path(file).resolve()}"
    check_ranges(found)
    return found


def check_ranges(settings: Mapping[str, Any]) -> None:
    """ValueError names the first number that is out of its range; what is missing or None is not
    looked at."""
    for name, (low, high) in RANGES.items():
        value = settings.get(name)
        if value is not None and not low <= value <= high:
            upper = " or more" if high in (MOST, 2**63) else f" to {high:g}"
            raise ValueError(f"{option(name)}: {value} is not allowed; use {low:g}{upper}")


def without_password(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they may be written to a file that others can read."""
    if settings["storage"] is None:
        return dict(settings)
    from sqlalchemy.engine import make_url

    url = make_url(escaped_url(settings["storage"]))
    query = {name: value for name, value in url.query.items() if "password" not in name.lower()}
    # not by `set`, which takes None for "as it is"
    bare = url.set(query=query)._replace(password=None)
    return {**settings, "storage": bare.render_as_string(hide_password=False)}


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, what was not given by default; ValueError where there is no one target."""
    settings = {name: setting.default for name, setting in SETTINGS.items()} | dict(given)
    targets = [name for name in SETTINGS if name.startswith("target_") and name in given]
    if not targets:
        raise ValueError("--target-flops is missing; give one like --target-flops 400M")
    if len(targets) > 1:
        first, second = targets[:2]
        raise ValueError(
            f"{option(second)}: a search has one target, here {option(first)}; "
            f"give the other as {option(second.replace('target', 'max'))}"
        )
    return settings


def check_evaluator(given: Mapping[str, Any], evaluator: str) -> None:
    """ValueError where an evaluator is asked for something that it does not do."""
    asked = {"proxy": (), "zero-cost": TRAINING}.get(evaluator, tuple(MEASURING))
    for name in given:
        if name in ("table", "table_column") and evaluator != "table":
            raise ValueError(
                f"{option(name)}: evaluator {evaluator!r} reads no table; add --evaluator table, "
                f"or leave {option(name)} out"
            )
        if name in asked:
            raise ValueError(
                f"{option(name)}: evaluator {evaluator!r} trains nothing; add --evaluator proxy, "
                f"or leave {option(name)} out"
            )


def resumed(given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings with what may be given anew; ValueError where the rest differs."""
    if not {*stored} - {*DIGESTS} <= {*SETTINGS}:
        raise ValueError("resume: search.json was written by another version of nas.search")
    # what an earlier version did not know was as it is where nobody asks for it
    stored = {name: setting.default for name, setting in SETTINGS.items()} | dict(stored)
    for name, setting in SETTINGS.items():
        value = stored[name]
        if value is None and setting.default is None:
            continue
        if not isinstance(value, setting.kinds) or (
            isinstance(value, bool) and setting.kinds is not bool
        ):
            raise ValueError(
                f"resume: {name} is {quoted(value)} in search.json, which it cannot be"
            )
    if not any(stored[name] for name in SETTINGS if name.startswith("target_")):
        raise ValueError("resume: there is no target in search.json")
    for name, value in given.items():
        if name == "fidelity" and _same_fidelity(value, stored):
            continue
        if not SETTINGS[name].later and stored[name] != value:
            raise ValueError(
                f"resume: {option(name)} {value} differs from the search's "
                f"{stored[name]}; leave it out or start anew in another --out"
            )
    anew = {name: value for name, value in given.items() if SETTINGS[name].later}
    check_ranges(stored)
    return {**stored, **anew}


def _same_fidelity(text: str, stored: Mapping[str, Any]) -> bool:
    """Whether a text means the fidelity of a stored search, which is written out in full."""
    from nas.evaluators.proxy import Fidelity
    from nas.lengths import text_names_epochs
    from train.length import names_epochs
    from train.recipe import change, preset

    if text == "auto" or stored["fidelity"] is None:
        return text == "auto"
    recipe = change(preset(stored["recipe"]), stored["changes"])
    asked = Fidelity.parse(text, epochs=recipe.epochs)
    known = Fidelity.parse(stored["fidelity"], epochs=recipe.epochs)
    if not text_names_epochs(text) and not names_epochs(stored["changes"]):
        asked = replace(asked, epochs=known.epochs)  # by the number of images
    return asked == known


def objective_of(settings: Mapping[str, Any]) -> Objective:
    """The reward and the limits that the settings ask for."""
    of = next(name for name in ("flops", *MEASURED) if settings[f"target_{name}"] is not None)
    limits = [
        (name, float(settings[f"max_{name}"]))
        for name in ("flops", "params", *MEASURED)
        if settings[f"max_{name}"] is not None
    ]
    return Objective(
        settings[f"target_{of}"], settings["reward"], settings["exponent"],
        settings["over_target"], limits=tuple(limits), of=of,
        also=tuple(_factor(str(text)) for text in settings["also"]),
    )  # fmt: skip


def _factor(text: str) -> tuple[str, float, float]:
    """A further factor of the reward from its text, e.g. params:7M:-0.05."""
    parts = text.split(":")
    if len(parts) == 3:
        name, reference, exponent = parts
        size = parse_seconds if name in MEASURED else parse_quantity
        with contextlib.suppress(ValueError):
            return name, size(reference, what="--also"), float(exponent)
    raise ValueError(
        f"--also: {shortened(repr(text), 60)} is not understood; write cost:reference:exponent, "
        "e.g. params:7M:-0.05"
    )


def measured_costs(objective: Objective) -> list[str]:
    """The measured costs that the objective needs."""
    needed = [objective.of, *(name for name, _ in objective.limits)]
    needed += [name for name, _, _ in objective.also]
    return [name for name in MEASURED if name in needed]
