"""What `experiments.new_baseline` can be told, checked before its first step begins."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.search.config import COMMAND
from search_spaces.catalog import SPACES, one_of
from train.parser import absolute_data, check_device
from vbs.command import Parser
from vbs.config import from_values
from vbs.options import read_request
from vbs.units import parse_quantity, parse_seconds

STEPS = ("search", "finalists", "grid", "family", "train")

EPILOG = """DATA is as in train.run. The steps, each as its own command would do it: nas.search by
training; the best few trained again by the whole recipe; scaling.grid of the winner;
scaling.family; as many members trained as --train-time allows. DIR gets a folder for each, and
report.html. The same command goes on where it was interrupted; --dry-run only says what it does."""


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments; ValueError for whatever a step would complain of."""
    args = _parser().parse_args(argv)
    _check(args)
    return args


def identity(args: argparse.Namespace) -> dict[str, Any]:
    """What makes a baseline another one, and its folder another folder."""
    names = ("data", "target_flops", "space", "resolution", "budget", "finalists", "growth", "phi",
             "seeds", "fidelity", "candidates", "changes")  # fmt: skip
    return {name: getattr(args, name) for name in names}


def search_words(args: argparse.Namespace) -> list[str]:
    """The search, as nas.search is told it."""
    words = [
        "--evaluator", "proxy", "--data", args.data, "--space", args.space, "--target-flops",
        args.target_flops, "--reward", "feasible", "--budget", str(args.budget), "--finalists", "0",
        "--fidelity", args.fidelity,
    ]  # fmt: skip
    for text in args.changes:
        words += ["--set", text]
    return words + (["--resolution", str(args.resolution)] if args.resolution else [])


def _parser() -> Parser:
    parser = Parser(
        prog="python -m experiments.new_baseline", epilog=EPILOG, allow_abbrev=False,
        description="From images and a budget to a family of networks.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", required=True, metavar="DATA", help="images to train on")
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    add("--target-flops", required=True, metavar="SIZE", help="of the baseline, e.g. 4M")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for everything")
    add("--space", default="compact", metavar="NAME", help="of the search (default compact)")
    add("--resolution", type=int, metavar="PX", help="of the baseline's input (default: the "
        "images', at most 224)")  # fmt: skip
    add("--budget", type=int, default=60, metavar="N", help="networks to search through "
        "(default 60)")  # fmt: skip
    add("--max-time", metavar="TIME", help="the search begins no new network after that, e.g. 1h")
    add("--fidelity", metavar="TEXT", help="how much of the recipe a training of search and grid "
        "is, e.g. epochs=8,share=0.2 (default: by the number of images)")  # fmt: skip
    add("--finalists", type=int, default=3, metavar="N", help="networks of the search that are "
        "trained again (default 3)")  # fmt: skip
    add("--candidates", type=int, default=9, metavar="N", help="of the grid (default 9)")
    add("--seeds", type=int, default=3, metavar="N", help="of finalists and grid (default 3)")
    add("--growth", type=float, default=2.0, metavar="X", help="of FLOPs from member to member "
        "(default 2)")  # fmt: skip
    add("--phi", default="0..2", metavar="PHI", help="members (default 0..2)")
    add("--train-time", default="1h", metavar="TIME", help="for the members' trainings together "
        "(default 1h)")  # fmt: skip
    add("--set", action="append", default=[], dest="changes", metavar="FIELD=VALUE",
        help="change a field of the recipe, which is proxy (repeatable)")  # fmt: skip
    add("--skip", action="append", default=[], choices=STEPS, help="leave a step out (repeatable)")
    add("--workers", type=int, metavar="N", help="trainings at once (default: all that fit)")
    add("--gpus", type=float, metavar="X", help="GPUs of a training (default 1 if there are any)")
    add("--address", metavar="HOST:PORT", help="a Ray cluster, or auto")
    add("--device", metavar="NAME", help="auto (default), cpu, cuda or cuda:N")
    add("--dry-run", action="store_true", help="say what would be done")
    return parser


def _check(args: argparse.Namespace) -> None:
    """ValueError where a step would stop later; fills in what was left open."""
    from scaling.family.config import phis_of

    args.data, args.out = absolute_data(args.data), args.out.resolve()
    parse_quantity(args.target_flops, what="--target-flops")
    args.train_seconds = parse_seconds(args.train_time, what="--train-time")
    if args.max_time is not None:
        parse_seconds(args.max_time, what="--max-time")
    one_of("space", args.space, SPACES)
    phis_of([args.phi])
    for name, least in (("budget", 1), ("finalists", 1), ("candidates", 4), ("seeds", 1),
                        ("workers", 1), ("gpus", 0), ("resolution", 8)):  # fmt: skip
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise ValueError(f"--{name}: {value} is not allowed; use {least} or more")
    if not 1 < args.growth <= 10:
        raise ValueError(f"--growth: {args.growth:g} is not allowed; use above 1, up to 10")
    check_device(args.device or "auto", local=args.address is None)
    if args.device == "cpu" and args.gpus is None:
        args.gpus = 0.0
    _check_trainings(args)


def _check_trainings(args: argparse.Namespace) -> None:
    """Every step's trainings, and the search itself, as those commands check them."""
    from nas.search.job import prepared
    from scaling.options import ComparisonOptions
    from scaling.trainings import free_resolution, measuring_of

    options = ComparisonOptions(
        changes=args.changes, data=args.data, data_root=args.data_root, fidelity=args.fidelity
    )
    measuring = measuring_of(options)
    if "grid" not in args.skip:
        free_resolution(measuring)
    args.fidelity = options.fidelity or str(measuring.fidelity)
    measuring_of(replace(options, fidelity=""))
    words = search_words(args) + ([] if args.data_root is None else ["--data-root", args.data_root])
    prepared(from_values(COMMAND.config, read_request(COMMAND, words).values), None)
