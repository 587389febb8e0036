"""The command line of `python -m nas.search`: settings in, a folder of results out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas import catalog, history_file, record
from nas.conduct import Aims, aims, conduct, keep_times
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import REWARDS
from nas.search import search
from nas.settings import check_evaluator, checked, complete, resumed
from search_spaces.catalog import SPACES, one_of, space
from search_spaces.space import SearchSpace
from vbs.command import Parser, run_command
from vbs.folder import resumed_folder

EPILOG = """sizes are written as 400M, 0.4G, 4e8 or 400000000; times as 250us, 20ms, 1.5s, 30min or
2h. The folder gets best.json (the network of highest reward), pareto.csv and pareto.png (the front
of accuracy and cost), history.parquet (everything evaluated) and search.json (settings); of a
search by measurement also study.db, which optuna-dashboard shows."""


def run(argv: list[str] | None = None) -> int:
    """The whole command; its exit code: 0, 1 for a search that failed, 2 for a user's mistake,
    130 for Ctrl-C."""
    return run_command("nas.search", lambda: _run(given_by(argv)))


def given_by(argv: list[str] | None) -> dict[str, Any]:
    """The arguments that were given, as text; ValueError for what is none."""
    return vars(_parser().parse_args(argv))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m nas.search", epilog=EPILOG, argument_default=argparse.SUPPRESS,
        description="Find the best network within a target of FLOPs, or of time.",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    _add_what(parser.add_argument)
    _add_measuring(parser.add_argument_group("searches by measurement").add_argument)
    return parser


def _add_what(add: Callable[..., Any]) -> None:
    add("--target-flops", metavar="SIZE", help="multiply-adds of one image, e.g. 400M")
    add("--target-latency", metavar="TIME", help="instead: of one forward pass, e.g. 20ms")
    add("--target-step-time", metavar="TIME", help="instead: of one training step")
    for name in ("flops", "params"):
        add(f"--max-{name}", metavar="SIZE", help="a further hard limit, e.g. 6M")
    for name in ("latency", "step-time"):
        add(f"--max-{name}", metavar="TIME", help="a further hard limit, e.g. 20ms")
    add("--times", metavar="FILE", action="append", help="a table of nas.block_times, perhaps of "
        "another machine (repeatable; default: measured here when needed)")  # fmt: skip
    add("--over-target", metavar="forbid|allow", help="whether more than the target may be "
        "evaluated and weighed by the reward (default forbid)")  # fmt: skip
    add("--reward", metavar="|".join(REWARDS), help="default mnas: accuracy x (cost/target)^w")
    add("--exponent", type=float, metavar="W", help="w of the reward (default -0.07; hard -1)")
    add("--also", metavar="COST:REFERENCE:EXPONENT", action="append", help="a further factor of "
        "the reward, e.g. params:7M:-0.05 (repeatable)")  # fmt: skip
    add("--space", metavar="|".join(SPACES), help="default efficientnet; compact "
        "where images are trained on")  # fmt: skip
    add("--resolution", type=int, metavar="PX", help="input side (default 224, or the data's)")
    add("--classes", type=int, metavar="N", help="default 1000, or the data's")
    add("--width", type=float, metavar="X", help="multiplies all channels (default 1.0)")
    add("--small-images", action="store_true", help="fewer strides, for 32 px images")
    add("--strategy", metavar="|".join(catalog.STRATEGIES),
        help="default evolution; where evaluations are dear, predictor")  # fmt: skip
    add("--evaluator", metavar="|".join(catalog.EVALUATORS), help="default surrogate (ImageNet)")
    add("--table", metavar="FILE", help="CSV or parquet of measured networks, for the table")
    add("--table-column", metavar="NAME", help="its accuracy column (default accuracy)")
    add("--budget", metavar="N", help="networks to evaluate (default: by strategy)")
    add("--seed", type=int, metavar="N", help="default 0; same seed, same result")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/search-N)")
    add("--resume", action="store_true", help="go on with the search in --out")


def _add_measuring(add: Callable[..., Any]) -> None:
    add("--data", metavar="DATA", help="images, as in train.run: cifar10, imagefolder:DIR, ...")
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    add("--recipe", metavar="NAME", help="of the trainings (default proxy)")
    add("--set", metavar="FIELD=VALUE", action="append", dest="changes", help="change a field of "
        "the recipe (repeatable)")  # fmt: skip
    add("--fidelity", metavar="auto|TEXT", help="how much of a training each network gets: "
        "epochs=9,share=0.2,resolution=24, or auto: what nas.fidelity found")  # fmt: skip
    add("--scheduler", metavar="asha|fifo", help="whether what lags behind is stopped early "
        "(default asha)")  # fmt: skip
    add("--grace", type=int, metavar="N", help="epochs that every training gets (default: a "
        "quarter of all, and at least 100 optimizer steps)")  # fmt: skip
    add("--factor", type=float, metavar="X", help="one of X goes on at N, N times X, ... epochs "
        "(default 3)")  # fmt: skip
    add("--scores", metavar="NAMES", help="scores without training that the predictor may learn "
        "from, a second each, e.g. naswot,zen,synflow (default none)")  # fmt: skip
    add("--finalists", type=int, metavar="N", help="best networks to train again (default 3)")
    add("--repeats", type=int, metavar="N", help="seeds for each of them (default 3)")
    add("--workers", type=int, metavar="N", help="trainings at once (default: what fits)")
    add("--cpus", type=float, metavar="N", help="processors for each (default 1)")
    add("--gpus", type=float, metavar="N", help="GPUs for each, e.g. 0.5 (default 1 if there is)")
    add("--device", metavar="NAME", help="auto (default), cpu or cuda")
    add("--address", metavar="HOST:PORT", help="a Ray cluster; auto: the one of this machine")
    add("--timeout", metavar="TIME", help="a training that takes longer fails")
    add("--max-time", metavar="TIME", help="no new network begins after that, e.g. 2h")
    add("--max-failures", type=float, metavar="SHARE", help="stop where more fail (default 0.5)")
    add("--cache", metavar="DIR|off", help="results shared by all searches "
        "(default ~/.cache/vision-baseline-search/results)")  # fmt: skip
    add("--checkpoints", metavar="DIR", help="where trainings keep what they can go on from, seen "
        "by all nodes and drivers (default: in the folder)")  # fmt: skip
    add("--storage", metavar="URL", help="a database for many drivers: postgresql://USER@HOST/NAME "
        "(default: a file in the folder)")  # fmt: skip
    add("--study", metavar="NAME", help="the search's name there; drivers that give the same "
        "one share it")  # fmt: skip


def _run(given: dict[str, Any]) -> int:
    out, resume = given.pop("out", None), given.pop("resume", False)
    with resumed_folder(out, resume=resume, command="nas.search"):
        return _searched(given, out, resume=resume)


def _searched(given: dict[str, Any], out: str | None, *, resume: bool) -> int:
    started = time.perf_counter()
    given = checked(given)
    settings, outcome = _known(given, out) if resume else (complete(given), {})
    one_of("evaluator", settings["evaluator"], catalog.EVALUATORS)
    check_evaluator(given, settings["evaluator"])
    if settings["evaluator"] in catalog.MEASURED:
        from nas.measured import run_by_measurement

        before = outcome if resume else None
        return run_by_measurement(settings, out, known=before, started=started)
    aimed, evaluator = _parts(settings, Path(out) if resume and out else None)
    with record.results_folder(out, resume=resume) as folder:
        return _in_folder(folder, settings, aimed, evaluator, outcome, started=started)


def _in_folder(
    folder: Path, settings: dict[str, Any], aimed: Aims, evaluator: Evaluator,
    outcome: dict[str, Any], *, started: float,
) -> int:  # fmt: skip
    """The search itself."""
    the_space, objective, strategy, tables = aimed
    evaluated = int(outcome.get("evaluated", 0))
    history = history_file.read_history(folder, the_space, objective, evaluated=evaluated)
    keep_times(folder, tables)
    record.write_search(folder, settings, status="running", **outcome)

    def loop(update: Callable[[History], None]) -> str:
        budget = settings["budget"]
        search(
            the_space, evaluator, objective, strategy, budget,
            seed=settings["seed"], record=update, history=history,
        )  # fmt: skip
        return "finished" if len(history) >= budget else "exhausted"

    return conduct(
        folder, settings, history, evaluator, loop,
        started=started - outcome.get("seconds", 0.0), total=settings["budget"],
        past=outcome.get("seconds", 0.0),
    )  # fmt: skip


def _known(given: dict[str, Any], out: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the search in `out`, with what may be given anew, and its outcome so far."""
    if not out:
        raise ValueError("resume: which search? give its folder as --out DIR")
    known = record.read_record(Path(out))
    settings = resumed(given, known["settings"])
    numbers = {k: v for k, v in known["outcome"].items() if k in ("evaluated", "seconds")}
    return settings, {k: v for k, v in numbers.items() if isinstance(v, int | float)}


def _parts(settings: dict[str, Any], kept: Path | None) -> tuple[Aims, Evaluator]:
    """Everything the loop needs; fills in what the settings left to defaults."""
    given = {name: settings[name] for name in ("resolution", "classes", "width", "small_images")}
    the_space: SearchSpace = space(
        settings["space"] or "efficientnet",
        **{name: value for name, value in given.items() if value is not None},
    )
    settings.update(the_space.settings, space=the_space.name)
    aimed = aims(settings, the_space, fallback="evolution", kept=kept)
    if settings["budget"] is None:
        settings["budget"] = catalog.STRATEGIES[settings["strategy"]].budget
    evaluator = catalog.evaluator(
        settings["evaluator"], aimed.space,
        table=settings["table"], table_column=settings["table_column"],
    )  # fmt: skip
    if settings["table"] is not None:
        digest = record.sha256(Path(settings["table"]))
        if settings.setdefault("table_sha256", digest) != digest:
            raise ValueError(f"resume: {settings['table']} is not the table of the search")
    return aimed, evaluator
