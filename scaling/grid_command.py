"""The command line of `python -m scaling.grid`: a baseline and images in, coefficients out."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.compound import ROUNDINGS, Rules
from scaling.grid import MOST, Candidate, candidates, check_growth, proxy_base, spread
from scaling.grid_report import FIGURE, RECORD
from scaling.options import HOW, add_how, checked_how, stored
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.show import load
from train.recipe import PRESETS
from vbs.command import Parser, run_command
from vbs.console import print_err, print_out
from vbs.folder import results_folder, resumed_folder
from vbs.units import parse_quantity, short

if TYPE_CHECKING:
    from nas.search.setup import Measuring
    from nas.slots import Slots
    from scaling.grid_report import Record
    from scaling.trainings import Result

# of the proxy where nobody asks for another: its FLOPs, but no narrower than that, and its side
PROXY_FLOPS, NARROWEST, PROXY_SIDE = 3e6, 0.15, 96
# channels are multiples of 8, or of FINE where half of the stages have fewer than NARROW: eights
# would leave such stages as they are for most widths
NARROW, FINE = 64, 2

EPILOG = """NETWORK is a zoo name (efficientnet_b0), or a JSON file: an architecture, a best.json of
nas.search. DATA is as in train.run. A proxy of the base, narrow and at the images' own size, stands
for it: what is learned are ratios. The folder gets grid.json (candidates, accuracies, choice),
grid.png, and study.db with every training; scaling.family --coefficients DIR/grid.json grows the
family. --resume --out DIR goes on with what is missing; with more --seeds it adds those."""

DEFAULTS: dict[str, Any] = {
    "base": "efficientnet_b0", "data": "cifar10", "data_root": None, "growth": 2.0, "step": 0.05,
    "tolerance": 0.05, "candidates": 14, "seeds": 3, "objective": "flops", "rules": "compound",
    "round_to": None, "proxy_width": None, "proxy_resolution": None, "proxy_flops": None,
    "small_images": None, "recipe": "proxy", "changes": [], "fidelity": None, "storage": None,
    "study": "grid", "measure_batch": 32, **HOW,
}  # fmt: skip
# what may be given anew when a grid goes on
LATER = ("data", "data_root", "seeds", "storage", "study", *HOW)


def run(argv: list[str] | None = None) -> int:
    """The whole command; 0, 1 where nothing could be trained, 2 for a user's mistake, 130."""
    return run_command(
        "scaling.grid", lambda: _run(vars(_parser().parse_args(argv))),
        interrupted="interrupted; resume by --resume --out DIR",
    )  # fmt: skip


def _parser() -> Parser:
    parser = Parser(
        prog="python -m scaling.grid", epilog=EPILOG, argument_default=argparse.SUPPRESS,
        description="Find alpha, beta and gamma: how a baseline should grow.",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    _add_candidates(add)
    _add_trainings(add)
    add_how(add)
    add("--storage", metavar="URL", help="an Optuna storage, for several drivers")
    add("--study", metavar="NAME", help="in that storage (default grid)")
    add("--dry-run", action="store_true", help="list the candidates and train nothing")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/grid-N)")
    add("--resume", action="store_true", help="go on with the grid in --out")
    add("--retry-failed", action="store_true", help="and train again what failed")
    return parser


def _add_candidates(add: Callable[..., Any]) -> None:
    add("--base", metavar="NETWORK", help="default efficientnet_b0")
    add("--growth", type=float, metavar="X", help="cost of one step over the base's (default 2)")
    add("--step", type=float, metavar="X", help="of the grid (default 0.05)")
    add("--tolerance", type=float, metavar="X", help="of the growth, as a share (default 0.05)")
    add("--candidates", type=int, metavar="N", help="so many of the grid are trained, as far apart "
        f"as can be, and three controls (default {DEFAULTS['candidates']})")  # fmt: skip
    add("--objective", metavar="flops|latency|step_time", help="what grows by --growth: FLOPs "
        "(default), or seconds measured on this machine")  # fmt: skip
    add("--measure-batch", type=int, metavar="N", help="of those seconds (default 32)")
    add("--rules", metavar="compound|v2", help="how factors become layers (default compound)")
    add("--round-to", type=int, choices=ROUNDINGS, help="channels are multiples of (default 8, or "
        f"{FINE} where half of the proxy's stages have fewer than {NARROW})")  # fmt: skip


def _add_trainings(add: Callable[..., Any]) -> None:
    add("--data", metavar="DATA", help="images to train on (default cifar10)")
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    add("--seeds", type=int, metavar="N", help="of each (default 3)")
    add("--proxy-width", type=float, metavar="X", help="of the proxy's channels over the base's")
    add("--proxy-resolution", type=int, metavar="PX", help="of the proxy (default: the images', "
        f"at most {PROXY_SIDE})")  # fmt: skip
    add("--proxy-flops", metavar="SIZE", help="the proxy is narrowed to that (default 3M, or "
        f"{NARROWEST} of the width where that is more)")  # fmt: skip
    add("--small-images", action="store_true", help="fewer strides (default: up to 64 px, "
        "where the base is for larger images)")  # fmt: skip
    add("--recipe", metavar="|".join(PRESETS), help="of the trainings (default proxy)")
    add("--set", metavar="FIELD=VALUE", action="append", dest="changes", help="change a field of "
        "the recipe (repeatable)")  # fmt: skip
    add("--fidelity", metavar="TEXT", help="how much of it, e.g. epochs=8,share=0.2 (default: by "
        "the number of images)")  # fmt: skip


def _run(given: dict[str, Any]) -> int:
    resume = given.get("resume", False)
    with resumed_folder(given.get("out"), resume=resume, command="scaling.grid"):
        return _prepared(given)


def _prepared(given: dict[str, Any]) -> int:
    settings = _settings(given)
    if given.get("dry_run"):
        return _listed(given, settings)
    from scaling import grid_report
    from scaling.trainings import free_resolution, measuring_of, slots

    measuring = measuring_of(settings)
    free_resolution(measuring)
    resumed = given.get("resume", False)
    if given.get("retry_failed") and not resumed:
        raise ValueError("--retry-failed: goes with --resume --out DIR")
    if resumed:
        base, found = grid_report.read(Path(given["out"]) / RECORD)
    else:
        base = _proxy(settings, measuring)
        found = spread(_candidates(settings, base), settings["candidates"])
    _tell_few(settings, found)
    places = slots(settings, measuring)
    _check_storage(settings["storage"])
    with results_folder(
        given.get("out"), kind="grid", files=(RECORD, FIGURE, "study.db"), command="scaling.grid",
        resume=resumed,
    ) as folder:  # fmt: skip
        given["out"] = str(folder)
        record = grid_report.Record(folder, settings, base, found, measuring, resumed=resumed)
        grid_report.opening(folder, settings, measuring, base, found, places)
        return _trained(given, settings, measuring, found, record, places)


def _trained(
    given: Mapping[str, Any], settings: dict[str, Any], measuring: Measuring,
    found: Sequence[Candidate], record: Record, places: Slots,
) -> int:  # fmt: skip
    """Train what is missing, and close."""
    from scaling import grid_report
    from scaling.trainings import Remaining, train_all

    folder = Path(given["out"])
    networks = {each.name: each.architecture for each in found}
    try:
        with Remaining(len(found) * settings["seeds"], record.scored) as remaining:

            def update(known: dict[str, Result]) -> None:
                record.write(known, "running")
                remaining.update(known)

            known = train_all(
                networks, settings["seeds"], settings, measuring, folder, places=places,
                update=update, retry_failed=given.get("retry_failed", False),
            )  # fmt: skip
    except BaseException as error:
        record.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    return grid_report.closing(record, known)


def _tell_few(settings: Mapping[str, Any], found: Sequence[Candidate]) -> None:
    """Say where the grid holds fewer candidates than were asked for."""
    free = sum(not each.is_control for each in found)
    if free < settings["candidates"]:
        print_err(
            f"{free} candidates are within {100 * settings['tolerance']:g}% of the growth; a "
            "larger --tolerance or a smaller --step gives more"
        )


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the arguments ask for, or the grid in --out that goes on."""
    if given.get("resume"):
        settings = stored(
            given, RECORD, "grid", known=DEFAULTS, later=LATER, parsed=_parsed
        )  # fmt: skip
    else:
        settings = DEFAULTS | {name: value for name, value in given.items() if name in DEFAULTS}
        _parsed(settings)
        load(settings["base"])  # a mistake in it is told before images are fetched
    for name, least, most in (
        ("candidates", 4, MOST), ("seeds", 1, 100), ("measure_batch", 1, 2**16),
    ):  # fmt: skip
        if not least <= settings[name] <= most:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option}: {settings[name]} is not allowed; use {least} to {most}")
    check_growth(settings["growth"], settings["step"], settings["tolerance"])
    if settings["proxy_width"] and settings["proxy_flops"]:
        raise ValueError("--proxy-flops: leave it out where --proxy-width is given")
    if settings["objective"] not in ("flops", "latency", "step_time"):
        raise ValueError(
            f"--objective: {settings['objective']!r} is unknown; use flops, latency or step_time"
        )
    return settings


def _parsed(settings: dict[str, Any]) -> None:
    """Numbers and whole paths in place of texts."""
    if isinstance(settings["proxy_flops"], str):
        settings["proxy_flops"] = parse_quantity(settings["proxy_flops"], what="--proxy-flops")
    if Path(settings["base"]).is_file():
        settings["base"] = str(Path(settings["base"]).resolve())
    checked_how(settings)


def _check_storage(storage: str | None) -> None:
    """ValueError where a database cannot be used, before anything is made."""
    if storage is not None:
        from nas.storage.database import Database

        Database(storage).close()


def _proxy(settings: Mapping[str, Any], measuring: Measuring | None) -> Architecture:
    """The network that stands for the base."""
    base = load(settings["base"])
    side, small = settings["proxy_resolution"], settings["small_images"]
    classes = flops = None
    if measuring is not None:
        from nas.data_space import SMALL, fitting_side

        side = side or min(fitting_side(measuring.data), PROXY_SIDE)
        # a base that is for small images already has that form
        small = side <= SMALL < base.resolution if small is None else small
        classes = len(measuring.data.classes)
        flops = settings["proxy_flops"] or PROXY_FLOPS
    return proxy_base(
        base, classes=classes, width=settings["proxy_width"], resolution=side,
        small_images=bool(small), flops=flops,
        narrowest=None if settings["proxy_flops"] else NARROWEST,
    )  # fmt: skip


def rules_of(settings: Mapping[str, Any], base: Architecture) -> Rules:
    """How factors become layers, channels and pixels of this proxy."""
    round_to = settings["round_to"]
    if round_to is None:
        usual = statistics.median(stage.channels for stage in base.stages)
        round_to = 8 if usual >= NARROW else FINE
    return Rules(settings["rules"], round_to=round_to)


def _candidates(settings: Mapping[str, Any], base: Architecture) -> list[Candidate]:
    costs = None
    if settings["objective"] != "flops":
        from scaling.measured_times import measured, trusted

        def costs(networks: Sequence[Architecture]) -> list[float]:
            times = measured(
                networks, kind=settings["objective"], batch=settings["measure_batch"],
                device=settings["device"], recipe=settings["recipe"],
                say=print_err,
            )  # fmt: skip
            return trusted(times, remedy="start it again while the machine does nothing else")

    return candidates(
        base, growth=settings["growth"], step=settings["step"], tolerance=settings["tolerance"],
        rules=rules_of(settings, base), costs=costs,
    )  # fmt: skip


def _listed(given: Mapping[str, Any], settings: dict[str, Any]) -> int:
    """All candidates of the grid as a table: of the proxy where data are given, else of the base
    as it is."""
    from scaling.grid_report import table

    measuring = None
    if "data" in given:
        from scaling.trainings import free_resolution, measuring_of

        measuring = measuring_of(settings)
        free_resolution(measuring)
    started = time.monotonic()
    base = _proxy(settings, measuring)
    found = _candidates(settings, base)
    trained = spread(found, settings["candidates"])
    own = cost(base)
    what = "a proxy of the base" if measuring else "the base as it is (a proxy of it with --data)"
    print_out(
        f"{settings['base']}, {what}: {short(own.flops)} FLOPs at {base.resolution} px, "
        f"{own.params:,} params; growth {settings['growth']:g} of real {settings['objective']} "
        f"within {100 * settings['tolerance']:g}%, step {settings['step']:g}",
        "",
    )
    table(found, {}, marked={each.name for each in trained})
    controls = sum(each.is_control for each in found)
    print_out(
        "",
        f"{len(found) - controls} candidates and {controls} controls, in "
        f"{time.monotonic() - started:.1f} s; {len(trained)} would be trained (*), "
        "--candidates says how many; nothing was trained",
    )
    return 0
