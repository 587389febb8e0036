"""The command line of `python -m scaling.training_aware`: images in, a network and a family out."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.catalog import STRATEGIES
from scaling.options import HOW, add_how, checked_how, stored
from scaling.training_aware import (
    BASE,
    BATCH,
    SPACE,
    V,
    W,
    b0_like,
    full_size,
    members,
    ops_of_stages,
    reference,
)
from scaling.training_aware_figure import draw
from search_spaces.architecture import Architecture
from search_spaces.catalog import one_of
from search_spaces.cost import cost
from train.suggested import recipe_words
from vbs import signals
from vbs.command import Parser, python_command, run_command
from vbs.console import print_err, print_results
from vbs.figure import draw_picture
from vbs.folder import (
    circumstances,
    results_folder,
    resumed_folder,
    write_json,
)
from vbs.json_text import parse_json
from vbs.text import shell_command, shell_word
from vbs.units import short, short_seconds

if TYPE_CHECKING:
    from nas.block_times.table import Times
    from scaling.trainings import Result
    from search_spaces.staged import StagedSpace

RECORD, FIGURE, MEMBERS = "training_aware.json", "training_aware.png", "members"
FOUND, B0 = "found", "EfficientNet-B0"
FRESH = 1000  # first seed of the trainings that are compared
TIMES = "times.json"

EPILOG = """DATA is as in train.run. The folder gets search/ (as nas.search writes it), compare/
(what was found beside V2-base and B0, trained alike), training_aware.json with all figures,
training_aware.png, and members/NAME.json, grown as much as V2-S, M and L are from V2-base.
--resume --out DIR goes on."""

DEFAULTS: dict[str, Any] = {
    "data": "cifar10", "data_root": None, "budget": 60, "strategy": "predictor", "seed": 0,
    "w": W, "v": V, "max_step_time": None, "times": [], "width": 0.25, "resolution": None,
    "recipe": "proxy", "changes": [], "fidelity": None, "seeds": 3,
    "members": ["s", "m", "l"], "max_time": None, **HOW,
}  # fmt: skip
LATER = ("data", "data_root", "budget", "seeds", "members", "max_time", *HOW)


def run(argv: list[str] | None = None) -> int:
    """The whole command; 0, 1 where nothing was found, 2 for a user's mistake, 130 for Ctrl-C."""
    return run_command(
        "scaling.training_aware", lambda: _run(vars(_parser().parse_args(argv))),
        interrupted="interrupted; resume by --resume --out DIR",
    )  # fmt: skip


def _parser() -> Parser:
    parser = Parser(
        prog="python -m scaling.training_aware", epilog=EPILOG,
        argument_default=argparse.SUPPRESS, allow_abbrev=False,
        description="Search a network that trains fast, and grow it: the method of EfficientNetV2.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", metavar="DATA", help="images to train on (default cifar10)")
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    add("--budget", type=int, metavar="N", help="networks to try (default 60; the paper: 1000)")
    add(
        "--strategy", metavar="NAME", help="random, evolution, controller, predictor (default), ..."
    )
    add("--seed", type=int, metavar="N", help="of the search (default 0)")
    add("--w", type=float, metavar="W", help=f"exponent of the step's time (default {W})")
    add("--v", type=float, metavar="V", help=f"exponent of the params (default {V})")
    add(
        "--max-step-time", metavar="TIME", help="a hard limit, e.g. 80ms (default: twice V2-base's)"
    )
    add("--times", metavar="FILE", action="append", help="a table of nas.block_times --kind "
        "step_time (default: measured here)")  # fmt: skip
    add("--width", type=float, metavar="X", help="of the proxies' channels (default 0.25)")
    add("--resolution", type=int, metavar="PX", help="of the proxies (default: the images')")
    add("--recipe", metavar="NAME", help="of the trainings (default proxy)")
    add("--set", metavar="FIELD=VALUE", action="append", dest="changes", help="change a field of "
        "the recipe (repeatable)")  # fmt: skip
    add("--fidelity", metavar="TEXT", help="how much of it, e.g. epochs=8,share=0.2 (default: by "
        "the number of images)")  # fmt: skip
    add("--seeds", type=int, metavar="N", help="of the trainings that are compared (default 3)")
    add("--members", nargs="+", choices=("s", "m", "l", "xl"), help="of the family (default s m l)")
    add_how(add)
    add("--max-time", metavar="TIME", help="no new network begins after that, e.g. 2h")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/aware-N)")
    add("--resume", action="store_true", help="go on with what is in --out")
    return parser


def _run(given: dict[str, Any]) -> int:
    resume = given.get("resume", False)
    with resumed_folder(given.get("out"), resume=resume, command="scaling.training_aware"):
        return _prepared(given)


def _prepared(given: dict[str, Any]) -> int:
    settings = _settings(given)
    from nas.data_space import space_for
    from scaling.trainings import measuring_of, slots

    measuring = measuring_of(settings)
    the_space = space_for(
        measuring.data, SPACE, resolution=settings["resolution"], width=settings["width"]
    )
    base = reference(the_space)
    slots(settings, measuring)
    resume = given.get("resume", False)
    times = _times(settings, the_space, Path(given["out"]) if resume else None)
    with results_folder(
        given.get("out"), kind="aware", files=(RECORD, FIGURE), command="scaling.training_aware",
        resume=resume,
    ) as folder:  # fmt: skip
        if not resume:
            times.write(folder / TIMES)
            _record(folder, settings, "running")
        return _in_folder(folder, settings, the_space, base, usual=times.predict(base)[0])


def _in_folder(
    folder: Path, settings: dict[str, Any], the_space: StagedSpace, base: Architecture, *,
    usual: float,
) -> int:  # fmt: skip
    """Search, compare, grow."""
    print_err(
        f"V2-base at this size: {short(cost(base).flops)} FLOPs, {cost(base).params:,} params, a "
        f"training step of {BATCH} images {short_seconds(usual)}"
    )
    limit = settings["max_step_time"] or 2 * usual
    code = _search(folder, settings, the_space, usual=usual, limit=limit)
    if code:
        return code
    signals.raise_noted()
    best = parse_json((folder / "search" / "best.json").read_bytes())
    small = the_space.settings["small_images"]
    networks = {
        FOUND: Architecture.from_dict(best["architecture"]), BASE: base,
        B0: b0_like(base, width=settings["width"], small_images=small),
    }  # fmt: skip
    return _compared(folder, settings, networks, best["choices"])


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the arguments ask for, or the run in --out that goes on."""
    if given.get("resume"):
        settings = stored(given, RECORD, "run", known=DEFAULTS, later=LATER, parsed=_parsed)
    else:
        settings = DEFAULTS | {name: value for name, value in given.items() if name in DEFAULTS}
        _parsed(settings)
    for name in ("w", "v"):
        if not -10 <= settings[name] <= 0:
            raise ValueError(f"--{name}: {settings[name]} is not allowed; use -10 to 0")
    for name, least in (("budget", 1), ("seeds", 1), ("seed", 0)):
        if settings[name] < least:
            raise ValueError(f"--{name}: {settings[name]} is not allowed; use {least} or more")
    one_of("strategy", settings["strategy"], STRATEGIES)
    return settings


def _parsed(settings: dict[str, Any]) -> None:
    """Numbers and whole paths in place of texts."""
    settings["times"] = [str(Path(path).resolve()) for path in settings["times"]]
    checked_how(settings)


def _times(settings: Mapping[str, Any], the_space: StagedSpace, folder: Path | None) -> Times:
    """The table of step times: the run's own, one of --times, or this machine's."""
    from nas.block_times.command import times_for
    from nas.block_times.table import read_times

    if folder is not None and (folder / TIMES).is_file():
        return read_times(folder / TIMES)
    tables = [path for path in settings["times"] if read_times(Path(path)).kind == "step_time"]
    if settings["times"] and not tables:
        raise ValueError("--times: none of the tables holds step_time")
    return times_for(
        the_space, kind="step_time", path=tables[0] if tables else None, recipe=settings["recipe"],
        device=_device(settings),
    )  # fmt: skip


def _device(settings: Mapping[str, Any]) -> str:
    """Where trainings run, and so where their steps are timed."""
    from train.distributed import pick_device

    return str(pick_device(settings["device"]))


def _search(
    folder: Path, settings: Mapping[str, Any], the_space: StagedSpace, *, usual: float, limit: float
) -> int:
    """`nas.search` with V2's reward, in the folder; its exit code."""
    from nas.command import run as search

    inner = folder / "search"
    record = inner / "search.json"
    begun = record.is_file() and (inner / "study.db").is_file()
    if begun:
        known = parse_json(record.read_bytes())
        longer = known["status"] == "out of time" and settings["max_time"] != known["settings"].get(
            "max_time"
        )
        over = known["status"] in ("finished", "out of time", "exhausted") and not longer
        if over and known["settings"]["budget"] == settings["budget"]:
            return 0
    words = ["--out", str(inner), "--budget", str(settings["budget"]), "--data", settings["data"]]
    if settings["data_root"]:
        words += ["--data-root", settings["data_root"]]
    for name in ("workers", "cpus", "gpus", "address", "device", "cache", "max_failures"):
        if settings[name] is not None:
            words += [f"--{name.replace('_', '-')}", str(settings[name])]
    for name in ("timeout", "max_time"):
        if settings[name] is not None:
            words += [f"--{name.replace('_', '-')}", f"{settings[name]}s"]
    if begun:
        return search(["--resume", *words])
    params = cost(reference(the_space)).params
    words += [
        "--evaluator", "proxy", "--space", SPACE,
        "--width", str(settings["width"]), "--resolution", str(the_space.settings["resolution"]),
        "--strategy", settings["strategy"], "--seed", str(settings["seed"]),
        "--recipe", settings["recipe"], "--fidelity", settings["fidelity"],
        "--target-step-time", f"{usual:.9g}s", "--reward", "mnas", "--exponent", str(settings["w"]),
        "--over-target", "allow", "--also", f"params:{params}:{settings['v']}",
        "--max-step-time", f"{limit:.9g}s", "--times", str(folder / TIMES),
    ]  # fmt: skip
    for text in settings["changes"]:
        words += ["--set", text]
    return search(words)


def _compared(
    folder: Path, settings: dict[str, Any], networks: Mapping[str, Architecture],
    choices: dict[str, Any],
) -> int:  # fmt: skip
    """Train what was found beside the published ones, time them together, grow the family.

    With seeds and held-out images that the search has not seen: it chose the network for what its
    own gave.
    """
    from scaling.certainty import certainty, scored_by
    from scaling.measured_times import measured
    from scaling.trainings import Remaining, length_of, measuring_of, train_all

    how = {
        **settings, "changes": [*settings["changes"], f"seed={FRESH}"], "split": FRESH,
        "storage": None, "study": f"compare-{networks[FOUND].key}",
    }  # fmt: skip
    (folder / "compare").mkdir(exist_ok=True)
    measuring = measuring_of(how)
    length = length_of(measuring)
    print_err(f"{', '.join(networks)}: {settings['seeds']} trainings each of {length}")
    scored = scored_by(measuring, larger="wider networks (--width)")
    with Remaining(len(networks) * settings["seeds"], scored) as remaining:
        known = train_all(
            networks, settings["seeds"], how, measuring, folder / "compare",
            update=remaining.update,
        )  # fmt: skip
    times = measured(
        list(networks.values()), kind="step_time", batch=BATCH, threads=1,
        device=_device(settings),
        recipe=settings["recipe"], say=print_err,
    )  # fmt: skip
    rows = {}
    for (name, network), timed in zip(networks.items(), times, strict=True):
        rows[name] = {
            **cost(network)._asdict(), "step_seconds": timed.seconds, "step_spread": timed.spread,
            "step_doubt": timed.doubt,
            "architecture": json.loads(network.to_json()), "stages": ops_of_stages(network),
            **known[name].to_json(),
        }  # fmt: skip
    listed, sure = _grown(folder, choices, settings["members"]), certainty(known, scored)
    _record(folder, settings, "finished", networks=rows, members=listed, certainty=sure)
    draw_picture(folder / FIGURE, lambda path: draw(path, rows, known))
    _show(folder, rows, listed, known, {**settings, "images": measuring.data.train}, sure)
    return 0


def _grown(folder: Path, choices: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """The members as files, and their figures."""
    (folder / MEMBERS).mkdir(exist_ok=True)
    listed = []
    for member in members(full_size(choices), tuple(names)):
        row = {"name": member.name, **member.cost._asdict(),
               "resolution": member.architecture.resolution,
               "layers": [stage.layers for stage in member.architecture.stages]}  # fmt: skip
        listed.append(row)
        network = json.loads(member.architecture.to_json())
        write_json(folder / MEMBERS / f"{member.name}.json", {"architecture": network, **row})
    return listed


def _record(folder: Path, settings: Mapping[str, Any], status: str, **outcome: Any) -> None:
    write_json(folder / RECORD, {
        "status": status, "partial": status != "finished", "settings": dict(settings),
        "outcome": outcome, "written": time.strftime("%Y-%m-%dT%H:%M:%S"),
        **circumstances(("numpy", "torch", "ray")),
    })  # fmt: skip


def _step(row: Mapping[str, Any]) -> str:
    """Seconds of a step with their spread, and a mark where they are in doubt."""
    seconds, half = short_seconds(row["step_seconds"]), short_seconds(row["step_spread"] / 2)
    return f"{seconds} ± {half}{'!' if row['step_doubt'] else ''}"


def _show(
    folder: Path, rows: Mapping[str, Any], listed: Sequence[Mapping[str, Any]],
    known: Mapping[str, Result], settings: Mapping[str, Any], sure: Sequence[str],
) -> None:  # fmt: skip
    from vbs.tables import Console, Table

    console = Console(piped_width=130)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("network", "minival top-1", f"step of {BATCH} images", "to V2-base", "FLOPs",
                 "params", "training"):  # fmt: skip
        table.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    for name, row in rows.items():
        result = known[name]
        error = "" if math.isnan(result.error) else f" ± {result.error:.2f}"
        shown = "failed" if math.isnan(result.mean) else f"{result.mean:.2f}%{error}"
        table.add_row(
            name, shown, _step(row),
            f"{row['step_seconds'] / rows[BASE]['step_seconds']:.2f}", f"{row['flops']:,}",
            f"{row['params']:,}", short_seconds(result.seconds),
        )  # fmt: skip
    console.print(table)
    console.print(*sure)
    doubts = [row["step_doubt"] for row in rows.values() if row["step_doubt"]]
    if doubts:
        console.print(f"! not to be trusted: {doubts[0]}; --resume measures again")
    console.print("", "what each stage of the found network is:")
    for stage in rows[FOUND]["stages"]:
        se = f" se{stage['se']:g}" if stage["se"] else ""
        console.print(f"  stage {stage['stage']}: {stage['layers']} x {stage['op']} "
                      f"k{stage['kernel']} e{stage['expand']}{se}")  # fmt: skip
    console.print("", "family, from the full-size network by V2's rules:")
    for row in listed:
        console.print(f"  {row['name']}: {row['flops'] / 1e9:.2f}G FLOPs, "
                      f"{row['params'] / 1e6:.1f}M params, {row['resolution']} px, layers "
                      f"{row['layers']}")  # fmt: skip
    files = (RECORD, FIGURE, "search/", "compare/", f"{MEMBERS}/")
    print_results(folder, files, _next(folder, listed, settings))


def _next(
    folder: Path, listed: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> list[str]:
    """What to do next, as commands."""
    paths = [str(folder / MEMBERS / f"{row['name']}.json") for row in listed]
    data = shell_word(settings["data"])
    recipe, changes = settings["recipe"], settings["changes"]
    how = recipe_words(settings["images"], recipe=recipe, changes=changes, large="efficientnetv2")
    return [
        f"{python_command()} -m search_spaces.show {shell_word(paths[0])}",
        f"{python_command()} -m train.ray_tune --architectures {shell_command(paths)} "
        f"--data {data} {shell_command(how)}",
    ]
