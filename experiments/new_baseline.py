"""From images and a budget to a family of networks, in one line.

What: the whole method on the user's own data, step by step: search (`nas.search` by training),
finalists trained again for longer, a grid of how the winner grows (`scaling.grid`), the family
(`scaling.family`), and as many of its members as the budget of hours allows, trained on Ray
(`train.ray_tune`). Each step goes on where it was interrupted, and can be left out by --skip. It
ends with report.html: one page that needs nothing beside it.
Expected: a network ahead of what chance finds, and a family whose accuracy rises with its cost.
Time: about two hours on 2 CPU cores for 32 px images, 40 minutes as the README shortens it; the
same command goes on. Command:

    python -m experiments.new_baseline --data cifar10 --target-flops 4M --out runs/baseline
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.common import run_experiment

    run_experiment("experiments.new_baseline")

import argparse
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.baseline_networks import (
    BATCH,
    FINALISTS,
    affordable,
    begun_with,
    best_networks,
    has_ended,
    member_key,
    trained_members,
    winner,
)
from experiments.baseline_options import STEPS, identity, parsed, search_words
from experiments.baseline_report import write_report
from scaling.grid.config import PROXY_SIDE
from search_spaces.architecture import Architecture
from vbs.children import child_environment
from vbs.command import Failure
from vbs.console import print_err, print_out
from vbs.folder import circumstances, status_after, write_json
from vbs.lock import FILE as LOCK
from vbs.lock import owned
from vbs.processes import available_cpus
from vbs.text import shell_command, shell_word

RECORD = "baseline.json"


class Chain:
    """The steps in one folder: what they are, which are over, and what each has cost."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, args.out
        known = self._known()
        self.costs: dict[str, dict[str, Any]] = known.get("costs", {})
        self.commands: dict[str, list[str]] = known.get("commands", {})
        self.bases: dict[str, str] = known.get("bases", {})  # keys of the networks that grow

    def _known(self) -> dict[str, Any]:
        path = self.folder / RECORD
        if not path.exists():
            return {}
        try:
            known = json.loads(path.read_text())
            asked, there = identity(self.args), known["settings"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is not the record of a baseline") from None
        other = [name for name in asked if asked[name] != there.get(name)]
        if other:
            raise ValueError(
                f"--out: {self.folder} holds a baseline with another --{other[0].replace('_', '-')}"
                f" ({there.get(other[0])}); choose another --out"
            )
        return known

    def write(self, status: str) -> None:
        """baseline.json, with what is known by now."""
        write_json(self.folder / RECORD, {
            "status": status, "partial": status != "finished", "settings": identity(self.args),
            "skipped": self.args.skip, "costs": self.costs, "commands": self.commands,
            "bases": self.bases, **places(self.args),
            **circumstances(("numpy", "torch", "optuna", "ray")),
        })  # fmt: skip

    def settle(self, name: str, base: str) -> None:
        """See to it that a step's folder is of this network: what was made of another one goes
        aside, and comes back with it."""
        folder, before = self.folder / name, self.bases.get(name, base)
        if name in self.args.skip:
            return
        if before != base:
            for there, place in ((folder, f"{name}-of-{before}"), (f"{name}-of-{base}", name)):
                if (self.folder / there).exists():
                    (self.folder / there).rename(self.folder / place)
            self.bases[name] = base
            self.write("running")
        self.bases[name] = base

    def step(
        self, name: str, is_over: Callable[[Path], bool], begin: list[str], go_on: list[str],
        *, folder: Path | None = None,
    ) -> None:  # fmt: skip
        """Run a step's command, unless it is over or left out; ValueError where it fails.

        folder  that it works in; None: of its name.
        """
        folder = folder or self.folder / name
        if name in self.args.skip or is_over(folder):
            return
        begun = folder.exists() and any(path.name != LOCK for path in folder.iterdir())
        words = go_on if begun and go_on else begin
        own = folder.relative_to(self.folder).as_posix()
        if not begun or own not in self.commands:
            self.commands[own] = begin
        print_err("", f"== {name}: {shell_command(['python', '-m', *words])}")
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", *words], env=child_environment())
        try:
            code = process.wait()
        except KeyboardInterrupt as error:
            if error.args and error.args[0] != signal.SIGINT:  # a terminal's Ctrl-C reached it too
                process.send_signal(error.args[0])
            process.wait()  # it saves what it has
            code = 130
        spent = self.costs.setdefault(name, {"wall_seconds": 0.0})
        spent["wall_seconds"] += round(time.monotonic() - began, 1)
        self.write("running")
        if code == 130:
            raise KeyboardInterrupt
        if code == 2:  # what was asked for, not what happened
            if not any((self.folder / step).exists() for step in STEPS):
                (self.folder / RECORD).unlink()  # the folder may be of another baseline yet
            raise ValueError(f"{name}: the step was refused, for the reason above")
        if code or not is_over(folder):
            raise Failure(f"{name}: the step failed; see above, and run the same command again")


def _says(file: str, *statuses: str) -> Callable[[Path], bool]:
    """Whether the record in a step's folder has one of these statuses."""

    def is_over(folder: Path) -> bool:
        path = folder / file
        return path.exists() and json.loads(path.read_text()).get("status") in statuses

    return is_over


def _all_ended(folder: Path) -> bool:
    """Whether all trials of train.ray_tune in a folder have ended, none of them for others'
    reasons."""
    path = folder / "results.json"
    if not _says(path.name, "finished")(folder):
        return False
    trials = json.loads(path.read_text())["trials"]
    return all(has_ended(row) for row in trials)


def places(args: argparse.Namespace) -> dict[str, Any]:
    """What this machine holds, for the costs, and how many trainings it has room for; nothing of a
    cluster's."""
    if args.address is not None:
        return {}
    import torch

    processors, gpus = available_cpus(), torch.cuda.device_count()
    gpus = 0 if args.gpus == 0 else gpus
    most = int(gpus / (args.gpus or 1)) if gpus else processors
    return {"processors": processors, "gpus": gpus, "at_once": min(most, args.workers or most)}


def search(chain: Chain) -> None:
    """A network for the target, by training on the data."""
    args, folder = chain.args, chain.folder / "search"
    words = ["nas.search", *search_words(args), "--out", str(folder), *_how(args)]
    if args.max_time:
        words += ["--max-time", args.max_time]
    over = _says("search.json", "finished", "out of time", "exhausted")
    go_on = ["nas.search", "--resume", "--out", str(folder), *_how(args)]
    if args.max_time:
        go_on += ["--max-time", args.max_time]
    chain.step("search", over, words, go_on)


def finalists(chain: Chain) -> None:
    """The best few of the search, trained again by the whole recipe; the winner to best.json."""
    args, folder = chain.args, chain.folder / "finalists"
    networks = folder / "networks.json"
    if "finalists" not in args.skip:
        folder.mkdir(exist_ok=True)
        if not networks.exists():
            if not (chain.folder / "search" / "search.json").exists():
                raise ValueError("--skip search: there is no earlier search in --out")
            write_json_list(networks, best_networks(chain.folder / "search", args.finalists))
    words = [
        "train.ray_tune", "--architectures", str(networks), "--data", args.data, "--recipe",
        "proxy", "--seeds", *map(str, range(args.seeds)), "--out", str(chain.folder / FINALISTS),
        *_trainer(args),
    ]  # fmt: skip

    def over(_: Path) -> bool:
        return _all_ended(chain.folder / FINALISTS)

    chain.step("finalists", over, words, [])
    if over(folder):
        write_json(chain.folder / "best.json", winner(chain.folder))


def write_json_list(path: Path, networks: list[Architecture]) -> None:
    """Networks as train.ray_tune takes them."""
    text = json.dumps([json.loads(network.to_json()) for network in networks], indent=1)
    path.write_text(text + "\n")


def base_of(chain: Chain) -> str:
    """The network that grows: the winner, or what the search found where finalists are skipped."""
    for path in (chain.folder / "best.json", chain.folder / "search" / "best.json"):
        if path.exists():
            return str(path)
    raise ValueError("there is no network to grow: --skip search needs an earlier search in --out")


def _base_key(chain: Chain) -> str:
    known = json.loads(Path(base_of(chain)).read_text())
    return Architecture.from_dict(known["architecture"]).key


def grid(chain: Chain) -> None:
    """How the winner should grow."""
    args, folder = chain.args, chain.folder / "grid"
    chain.settle("grid", _base_key(chain))
    words = [
        "scaling.grid", "--base", base_of(chain), "--data", args.data, "--growth",
        str(args.growth), "--seeds", str(args.seeds), "--candidates", str(args.candidates),
        "--fidelity", args.fidelity, *_changes(args), "--out", str(folder), *_how(args),
    ]  # fmt: skip
    if args.resolution:
        words += ["--proxy-resolution", str(min(args.resolution, PROXY_SIDE))]
    go_on = ["scaling.grid", "--resume", "--retry-failed", "--out", str(folder), *_how(args)]
    chain.step("grid", _says("grid.json", "finished"), words, go_on)


def family(chain: Chain) -> None:
    """The members, each at its real cost; made anew where a grid has been chosen from since."""
    args, folder = chain.args, chain.folder / "family"
    chain.settle("family", _base_key(chain))
    words = [
        "scaling.family", "--base", base_of(chain), "--growth", str(args.growth), "--phi",
        args.phi, "--recipe", "proxy", "--measure", "step_time", "--measure-batch", str(BATCH),
        "--measure-threads", "1", "--out", str(folder),
    ]  # fmt: skip
    if args.device:
        words += ["--device", args.device]
    chosen = chain.folder / "grid" / "grid.json"
    wanted = None
    if _says("grid.json", "finished")(chosen.parent):
        words += ["--coefficients", str(chosen)]
        wanted = json.loads(chosen.read_text())["outcome"]["chosen"]

    def over(folder: Path) -> bool:
        path = folder / "family.json"
        if not path.exists():
            return False
        grown = json.loads(path.read_text())["coefficients"]
        return wanted is None or grown == wanted

    if "family" not in args.skip and not over(folder):
        shutil.rmtree(folder, ignore_errors=True)
    chain.step("family", over, words, [])


def train(chain: Chain) -> None:
    """As many members as the hours allow, the smallest first; those that were not trained yet, as a
    finalist is by now."""
    args, grown = chain.args, chain.folder / "family"
    if "train" in args.skip or not (grown / "family.json").exists():
        return
    members = json.loads((grown / "family.json").read_text())["members"]
    names = affordable(members, args)
    if not names:
        print_err("train: the budget allows no member; use a larger --train-time")
        return
    wanted = {member_key(chain.folder, name) for name in names}
    for folder in begun_with(chain.folder, wanted):
        words = ["train.ray_tune", "--resume", "--out", str(folder), "--data", args.data,
                 *_places(args)]  # fmt: skip
        chain.step("train", _all_ended, words, words, folder=folder)
    done = trained_members(chain.folder)
    missing = [name for name in names if name not in done]
    if not missing:
        return
    files = [str(grown / "members" / f"{name}.json") for name in missing]
    keys = [member_key(chain.folder, name) for name in missing]
    folder = chain.folder / "train" / hashlib.sha256("-".join(keys).encode()).hexdigest()[:12]
    words = ["train.ray_tune", "--architectures", *files, "--data", args.data, "--recipe",
             "proxy", "--out", str(folder), *_trainer(args)]  # fmt: skip
    chain.step("train", _all_ended, words, [], folder=folder)


def _trainer(args: argparse.Namespace) -> list[str]:
    """How train.ray_tune trains."""
    return [*_places(args), *_changes(args)]


def _places(args: argparse.Namespace) -> list[str]:
    """Where train.ray_tune runs."""
    words = [] if args.workers is None else ["--max-concurrent", str(args.workers)]
    words += [] if args.address is None else ["--address", args.address]
    words += [] if args.gpus is None else ["--gpus-per-trial", f"{args.gpus:g}"]
    return [*words, *_root(args)]


def _changes(args: argparse.Namespace) -> list[str]:
    return [word for text in args.changes for word in ("--set", text)]


def _root(args: argparse.Namespace) -> list[str]:
    return [] if args.data_root is None else ["--data-root", args.data_root]


def _how(args: argparse.Namespace) -> list[str]:
    """How searches and grids run."""
    words = [] if args.workers is None else ["--workers", str(args.workers)]
    words += [] if args.device is None else ["--device", args.device]
    words += [] if args.gpus is None else ["--gpus", f"{args.gpus:g}"]
    words += [] if args.address is None else ["--address", args.address]
    return [*words, *_root(args)]


def plan(args: argparse.Namespace) -> str:
    """What will be done, in a few lines."""
    seeds = f"{args.seeds} seed{'s' if args.seeds > 1 else ''}"
    what = {
        "search": f"up to {args.budget} networks of space {args.space} within {args.target_flops} "
                  f"FLOPs, by trainings of {args.fidelity}",
        "finalists": f"the best {args.finalists}, {seeds} each, by the whole recipe",
        "grid": f"{args.candidates} ways to grow and 3 controls, {seeds} each, by trainings of "
                f"{args.fidelity}",
        "family": f"members {args.phi}, each step {args.growth:g} times the FLOPs; timed here",
        "train": f"the members whose trainings fit into {args.train_time} together; a finalist "
                 "is not trained again",
    }  # fmt: skip
    shown = [f"  {name:10s}{'left out' if name in args.skip else what[name]}" for name in STEPS]
    return "\n".join([*shown, f"results go to {args.out}/; each step says what time it takes"])


def main() -> None:
    """All steps, then the page."""
    args = parsed()
    if args.dry_run:
        Chain(args)  # it refuses a folder of another baseline
        print_err(*plan(args).splitlines())
        return
    args.out.mkdir(parents=True, exist_ok=True)
    with owned(args.out, "experiments.new_baseline"), status_after(args.out / RECORD):
        run_steps(Chain(args))


def run_steps(chain: Chain) -> None:
    """All steps that are not over, then the page."""
    print_err(*plan(chain.args).splitlines())
    chain.write("running")
    for step in (search, finalists, grid, family, train):
        step(chain)
    chain.write("finished")
    words = ["experiments.new_baseline", *sys.argv[1:]]
    page = write_report(chain.folder, command=["python", "-m", *words])
    print_out("", f"report: {shell_word(page)}")
