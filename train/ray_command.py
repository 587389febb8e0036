"""The command line of `python -m train.ray_tune`: networks, data and a recipe in; a ranking out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

from train import record
from train.parser import check_factor
from train.ray_connect import probe
from train.ray_kept import HOW, asked_or_none, settings_of
from train.ray_owner import COMMAND, owned
from train.ray_process import RayLost
from train.ray_store import Store, opened
from train.ray_tuning import WAITING, Call, left, tuning
from train.recipe import PRESETS
from vbs.command import Parser, run_command
from vbs.console import print_err
from vbs.folder import results_folder
from vbs.temporary import temporary_folder
from vbs.text import shell_word

EPILOG = """FILE is a zoo name (efficientnet_b0), or a JSON file: an architecture, a best.json of
nas.search, or a list of either. DATA is as in train.run. On a laptop this starts a Ray of its
own; on a node of a cluster, add --address auto. --resume --out PLACE goes on with what is not
finished, as does the same command again if it names --out. PLACE gets run.json, results.json and
results.csv, owner.json while it runs, and for each trial trials/NAME/ with best.safetensors
(weights), last.safetensors (to go on), curve.json, curves.csv, tensorboard/, and run.json once
it is over."""


def run(argv: list[str] | None = None) -> int:
    """The whole command; 0, 1 if no trial came through, 2 for a user's mistake, 130 for Ctrl-C."""
    return run_command("train.ray_tune", lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m train.ray_tune", description="Train many networks at once with Ray Tune.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--architectures", metavar="FILE", nargs="+", help="what to train")
    add("--data", metavar="DATA", help="images to train on")
    add("--recipe", metavar="|".join(PRESETS), help="default proxy")
    add("--variant", metavar="paper|google", help="of efficientnetv2 (default paper)")
    add("--set", metavar="FIELD=VALUE", action="append", dest="changes", help="change a field of "
        "the recipe, e.g. --set epochs=3 (repeatable)")  # fmt: skip
    add("--seeds", metavar="N", type=int, nargs="+", help="train each network once with each seed")
    add("--resolution", type=int, metavar="PX", help="the networks' input side")
    add("--width", type=float, metavar="X", help="multiplies their channels")
    add("--depth", type=float, metavar="X", help="multiplies their layers")
    add("--small-images", action="store_true", help="fewer strides, for 32 px images")
    add("--gpus-per-trial", type=float, metavar="X", help="0.5: two trials share a GPU; 4: with 4 "
        "workers (default: 1 for each worker where a node has a GPU, else 0)")  # fmt: skip
    add("--cpus-per-trial", type=float, metavar="X", help="default: 1 for each worker")
    add("--workers-per-trial", type=int, metavar="N", help="processes that train one network "
        "together (default 1)")  # fmt: skip
    add("--loaders", type=int, metavar="N", help="processes of a worker that decode streamed "
        "images (default: by its CPUs)")  # fmt: skip
    add("--scheduler", metavar="asha|fifo", help="asha stops the worse early, fifo (default) none")
    add("--grace", type=int, metavar="N", help="asha's first epoch (default: 1/4, >= 100 steps)")
    add("--factor", type=float, metavar="X", help="of asha: one of so many goes on at each rung "
        "(default 4)")  # fmt: skip
    add("--max-concurrent", type=int, metavar="N", help="trials at once (default: all that fit; of "
        f"several workers at most {WAITING}, or what fits at first)")  # fmt: skip
    add("--retries", type=int, metavar="N", help="times a trial goes on after its node "
        "or process was lost (default 3)")  # fmt: skip
    add("--address", metavar="HOST:PORT", help="a Ray cluster, auto, or local (default)")
    add("--nodes", type=int, metavar="N", help="wait until so many nodes of it are there")
    add("--out", metavar="PLACE", help="folder or URL for checkpoints and results; with several "
        "nodes one that all of them share (default: a new runs/tune-N)")  # fmt: skip
    add("--resume", action="store_true", help="go on with the trials in --out; only --data, for "
        "images that moved, and how it runs may be given again")  # fmt: skip
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    return parser


def _run(args: argparse.Namespace) -> int:
    _check_numbers(args)
    asked = asked_or_none(args)
    if args.address not in (None, "local"):
        probe(args.address)
    if args.out is None:
        return _with_data(args, settings_of(args, None, asked), None, resumed=False)
    store, known = opened(args.out)
    settings = settings_of(args, known, asked)
    _check_numbers(args)  # those that were in run.json
    store.check()
    with owned(store):
        now = store.read("run.json")
        if now != known:  # by a driver that has ended since
            known, settings = now, settings_of(args, now, asked)
        if known is not None and not left(store, settings):
            return _close(store, settings, "finished")
        return _with_data(args, settings, store, resumed=known is not None)


def _check_numbers(args: argparse.Namespace) -> None:
    least = {
        "gpus_per_trial": 0, "cpus_per_trial": 0.1, "workers_per_trial": 1, "loaders": 0,
        "grace": 1, "max_concurrent": 1, "retries": 0, "nodes": 1,
    }  # fmt: skip
    for name, low in least.items():
        value = getattr(args, name)
        if value is not None and not (low <= value < math.inf):
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option}: {value} is not allowed; use at least {low}")
    if args.factor is not None:
        check_factor(args.factor, what="--factor")
    if args.out == "":
        raise ValueError("out: the name of the folder is empty")
    if args.nodes is not None and args.address in (None, "local"):
        raise ValueError("--nodes: there are no nodes to wait for; add --address auto")


def _write(store: Store, settings: dict[str, Any], status: str) -> None:
    store.write("run.json", record.described(settings, status=status))


def _with_data(
    args: argparse.Namespace, settings: dict[str, Any], store: Store | None, *, resumed: bool
) -> int:
    """Everything that needs Ray, connected to it and disconnected again."""
    with tuning(args, settings, resumed=resumed) as call:
        settings = call("prepare")
        if store is not None:
            return _train(args, settings, store, call)
        with results_folder(None, kind="tune", files=("run.json",), command=COMMAND) as folder:
            return _train(args, settings, Store(str(folder)), call)


def _train(args: argparse.Namespace, settings: dict[str, Any], store: Store, call: Call) -> int:
    settings["how"] = {name: getattr(args, name) for name in HOW}
    status = "finished"
    try:
        with temporary_folder() as scratch:
            call("share", settings, store.place, scratch)
            _write(store, settings, "running")
            call("train")
    except KeyboardInterrupt:
        status = "interrupted"
        print_err("train.ray_tune: interrupted; --resume continues")
    except RayLost as error:
        status = "failed"
        print_err(f"train.ray_tune: {error}; --resume continues")
    return _close(store, settings, status)


def _close(store: Store, settings: dict[str, Any], status: str) -> int:
    """Write and show the results; the exit code."""
    from train.ray_board import closing, outcome, ranked, write_csv
    from train.ray_trial import ending, folder_of, learned

    rows = []
    for trial in settings["trials"]:
        name = trial["name"]
        # one that was lost has a record, but no ending
        ended = ending(store, name) or store.read(f"{folder_of(name)}/run.json")
        row = outcome(trial, learned(store, name), ended, settings.get("images") or {})
        if row["status"] == "running":  # which the command, that ends, does no more
            row["status"] = "interrupted"
        rows.append(row)
    rows = ranked(rows)
    _write(store, settings, status)
    store.write("results.json", record.finite({"status": status, "trials": rows}))
    store.put("results.csv", lambda path: write_csv(path, rows))
    closing(store.place, rows, status=status, images=settings.get("images") or {})
    if status != "finished":
        return {"interrupted": 130, "failed": 1}[status]
    return _exit_code(store, rows)


def _exit_code(store: Store, rows: Sequence[Mapping[str, Any]]) -> int:
    """0, or 1 where no trial came through or some were lost, which is said."""
    lost = [row for row in rows if row["status"] == "lost"]
    if lost:
        first = f", the first by {lost[0]['reason']}" if lost[0].get("reason") else ""
        print_err(
            f"train.ray_tune: {len(lost)} of {len(rows)} trials were lost{first}; "
            f"--resume --out {shell_word(store.place)} trains them"
        )
    finished = any(row["status"] == "finished" for row in rows)
    return 0 if finished and not lost else 1
