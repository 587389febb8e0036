"""The command line of `python -m nas.search`: settings in, a folder of results out."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from nas import catalog, record
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import REWARDS, Objective
from nas.search import check_limits, search
from nas.strategies.base import Strategy
from nas.units import parse_quantity
from search_spaces.catalog import SPACES, space
from search_spaces.space import SearchSpace

SAVE_EVERY = 10.0  # seconds between partial results of a search that takes longer

MOST = 10**9  # evaluations; a history of more does not fit into memory

DEFAULTS: dict[str, Any] = {
    "space": "efficientnet",
    "resolution": 224,
    "classes": 1000,
    "width": 1.0,
    "small_images": False,
    "strategy": "evolution",
    "evaluator": "surrogate",
    "table": None,
    "table_column": "accuracy",
    "reward": "mnas",
    "exponent": None,
    "over_target": "forbid",
    "max_params": None,
    "budget": None,
    "seed": 0,
}

# what settings read from a file may be; texts are the rest
TYPES: dict[str, Any] = {
    "target_flops": (int, float), "resolution": int, "classes": int, "width": (int, float),
    "small_images": bool, "table": (str, type(None)), "exponent": (int, float),
    "max_params": (int, float, type(None)), "budget": int, "seed": int,
}  # fmt: skip

EPILOG = """sizes are written as 400M, 0.4G, 4e8 or 400000000.
The folder gets best.json (the network of highest reward), pareto.csv and pareto.png (the front
of accuracy and FLOPs), history.parquet (everything evaluated) and search.json (settings)."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other mistake is answered."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def run(argv: list[str] | None = None) -> int:
    """The whole command; its exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    try:
        return _run(vars(_parser().parse_args(argv)))
    except ValueError as error:
        print(f"nas.search: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"nas.search: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nas.search: interrupted; nothing was found yet", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(
        prog="python -m nas.search", epilog=EPILOG, argument_default=argparse.SUPPRESS,
        description="Find the best network within a FLOPs target.",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--target-flops", metavar="SIZE", help="multiply-adds of one image, e.g. 400M")
    add("--max-params", metavar="SIZE", help="a further hard limit, e.g. 6M")
    add("--over-target", metavar="forbid|allow", help="whether more FLOPs than the target may be "
        "evaluated and weighed by the reward (default forbid)")  # fmt: skip
    add("--reward", metavar="|".join(REWARDS), help="default mnas: accuracy x (FLOPs/target)^w")
    add("--exponent", type=float, metavar="W", help="w of the reward (default -0.07; hard -1)")
    add("--space", metavar="|".join(SPACES), help="default efficientnet")
    add("--resolution", type=int, metavar="PX", help="input side (default 224)")
    add("--classes", type=int, metavar="N", help="default 1000")
    add("--width", type=float, metavar="X", help="multiplies all channels (default 1.0)")
    add("--small-images", action="store_true", help="fewer strides, for 32 px images")
    add("--strategy", metavar="|".join(catalog.STRATEGIES), help="default evolution")
    add("--evaluator", metavar="|".join(catalog.EVALUATORS), help="default surrogate (ImageNet)")
    add("--table", metavar="FILE", help="CSV or parquet of measured networks, for the table")
    add("--table-column", metavar="NAME", help="its accuracy column (default accuracy)")
    add("--budget", metavar="N", help="networks to evaluate (default: by strategy)")
    add("--seed", type=int, metavar="N", help="default 0; same seed, same result")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/search-N)")
    add("--resume", action="store_true", help="go on with the search in --out")
    return parser


def _run(given: dict[str, Any]) -> int:
    started = time.perf_counter()
    out, resume = given.pop("out", None), given.pop("resume", False)
    given = _checked(given)
    evaluated = 0
    if resume:
        if not out:
            raise ValueError("resume: which search? give its folder as --out DIR")
        known = record.read_record(Path(out))
        settings = _resumed(given, known["settings"])
        evaluated = known["outcome"].get("evaluated", 0)
    elif "target_flops" not in given:
        raise ValueError("--target-flops is missing; give one like --target-flops 400M")
    else:
        settings = {**DEFAULTS, **given}
    the_space, objective, strategy, evaluator = _parts(settings)
    folder = Path(out) if resume else record.new_folder(out)
    history = record.read_history(folder, the_space, objective, evaluated=evaluated)
    record.write_search(folder, settings, status="running")
    try:
        status = _search(folder, settings, history, strategy, evaluator)
        with interrupts_wait():
            record.write_history(folder, history)
            from nas import report

            report.write(folder, settings, history, evaluator)
    except ValueError as error:
        record.write_search(folder, settings, status="failed", reason=str(error))
        raise
    with interrupts_wait():
        seconds = time.perf_counter() - started
        failed = int((history.error != "").sum())
        record.write_search(
            folder, settings, status=status,
            evaluated=len(history), failed=failed, seconds=round(seconds, 2),
        )  # fmt: skip
        report.show(folder, settings, history, evaluator, status=status, seconds=seconds)
    return 130 if status == "interrupted" else 0


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C is ignored inside: results that were found are written first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals, or may say how they are handled
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments as plain numbers; ValueError names the argument that is none."""
    checked = dict(given)
    for name in ("target_flops", "max_params"):
        if name in given:
            checked[name] = parse_quantity(given[name], what=f"--{name.replace('_', '-')}")
    if "budget" in given:
        budget = parse_quantity(given["budget"], what="--budget")
        if budget != int(budget) or budget > MOST:
            raise ValueError(f"--budget: {given['budget']!r} is not a whole number up to 1G")
        checked["budget"] = int(budget)
    if "table" in given:  # a resumed search may be started from elsewhere
        checked["table"] = str(Path(given["table"]).resolve())
    return checked


def _resumed(given: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """The stored settings; only the budget, and the place of an equal table, may be given anew."""
    if set(stored) - {"table_sha256"} != {*DEFAULTS, "target_flops"}:
        raise ValueError("resume: search.json was written by another version of nas.search")
    for name, value in stored.items():
        if not isinstance(value, TYPES.get(name, str)) or isinstance(value, bool) != (
            name == "small_images"
        ):
            raise ValueError(f"resume: {name} is {value!r} in search.json, which it cannot be")
    for name, value in given.items():
        if name not in ("budget", "table") and stored[name] != value:
            raise ValueError(
                f"resume: --{name.replace('_', '-')} {value} differs from the search's "
                f"{stored[name]}; leave it out or start anew in another --out"
            )
    return {**stored, **{name: given[name] for name in ("budget", "table") if name in given}}


def _parts(settings: dict[str, Any]) -> tuple[SearchSpace, Objective, Strategy, Evaluator]:
    """Everything the loop needs; fills in what the settings left to defaults."""
    if settings["seed"] < 0:
        raise ValueError(f"--seed: {settings['seed']} is not allowed; use 0 or more")
    names = ("resolution", "classes", "width", "small_images")
    the_space = space(settings["space"], **{name: settings[name] for name in names})
    params = settings["max_params"]
    objective = Objective(
        settings["target_flops"], settings["reward"], settings["exponent"],
        settings["over_target"], limits=() if params is None else (("params", params),),
    )  # fmt: skip
    settings["exponent"] = objective.exponent
    check_limits(the_space, objective)
    the_strategy = catalog.strategy(settings["strategy"], the_space, objective)
    if settings["budget"] is None:
        settings["budget"] = catalog.STRATEGIES[settings["strategy"]].budget
    evaluator = catalog.evaluator(
        settings["evaluator"], the_space,
        table=settings["table"], table_column=settings["table_column"],
    )  # fmt: skip
    if settings["table"] is not None:
        digest = record.sha256(Path(settings["table"]))
        if settings.setdefault("table_sha256", digest) != digest:
            raise ValueError(f"resume: {settings['table']} is not the table of the search")
    return the_space, objective, the_strategy, evaluator


def _search(
    folder: Path, settings: dict[str, Any], history: History, strategy: Strategy,
    evaluator: Evaluator,
) -> str:  # fmt: skip
    """Run the loop into `history`; how it ended, as in `report.ENDINGS`."""
    from nas.progress import Progress

    saved = time.monotonic()

    def on_extension(history: History) -> None:
        nonlocal saved
        progress.update(history)
        if time.monotonic() - saved > SAVE_EVERY:
            record.write_history(folder, history)
            saved = time.monotonic()

    budget = settings["budget"]
    with Progress(budget) as progress:
        try:
            search(
                history.space, evaluator, history.objective, strategy, budget,
                seed=settings["seed"], record=on_extension, history=history,
            )  # fmt: skip
        except KeyboardInterrupt:
            if not len(history):
                raise
            return "interrupted"
    return "finished" if len(history) >= budget else "exhausted"
