"""The command line of `python -m train.run`: a network, data and a recipe in; a folder out."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture
from search_spaces.scale import for_small_images, scale
from search_spaces.show import load as load_network
from train import record
from train.length import lengthened, names_epochs
from train.recipe import PRESETS, Recipe, change, check_start, preset
from train.scored import scored_images
from vbs import signals
from vbs.command import Parser, run_command
from vbs.console import print_err
from vbs.folder import results_folder, resumed_folder
from vbs.load import Load, LoadWatch
from vbs.processes import available_cpus

if TYPE_CHECKING:
    from search_spaces.network import Network
    from train.data import Data
    from train.distributed import World
    from train.loop import Result

EPILOG = """NETWORK is a zoo name (efficientnet_b0), or a JSON file: an architecture, or a best.json
of nas.search. DATA is cifar10, cifar100, fashion-mnist, imagenet, imagefolder:DIR, parquet:DIR
or FILE.zip, with options after a question mark (imagefolder:DIR?corrupt_limit=0.05; see README).
On several GPUs: torchrun --nproc-per-node 4 -m train.run NETWORK ... --out DIR.
The folder gets best.safetensors (weights), last.safetensors (to go on), run.json (settings and
result), curves.csv and curves.png, confusion.png, mistakes.png, and tensorboard/."""


def run(argv: list[str] | None = None) -> int:
    """The whole command; 0, 1 for a run that failed, 2 for a user's mistake, 130 for Ctrl-C."""
    args = argparse.Namespace(out=None)

    def action() -> int:
        _parser().parse_args(argv, namespace=args)
        return _run(args)

    def interrupted() -> str:
        known = args.out and Path(args.out, "last.safetensors").exists()
        return f"interrupted; {'--resume continues' if known else 'nothing was trained yet'}"

    return run_command("train.run", action, interrupted=interrupted)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m train.run", description="Train one network on one data set.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("network", metavar="NETWORK", nargs="?", help="what to train")
    add("--data", metavar="DATA", help="images to train on")
    add("--recipe", metavar="|".join(PRESETS), help="default proxy")
    add("--variant", metavar="paper|google", help="of efficientnetv2 (default paper)")
    add("--set", metavar="FIELD=VALUE", action="append", dest="changes", help="change a field of "
        "the recipe, e.g. --set epochs=3 --set lr=0.1 (repeatable)")  # fmt: skip
    add("--init", metavar="SOURCE", help="begin with the weights of a run's folder, a "
        ".safetensors file, timm:NAME, or package:efficientnet_lite0")  # fmt: skip
    add("--resolution", type=int, metavar="PX", help="the network's input side")
    add("--width", type=float, metavar="X", help="multiplies its channels")
    add("--depth", type=float, metavar="X", help="multiplies its layers")
    add("--small-images", action="store_true", help="fewer strides, for 32 px images")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/train-N)")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--device", metavar="NAME", help="auto (default), cpu, cuda or cuda:N")
    add("--workers", type=int, metavar="N", help="processes that decode streamed images "
        "(default: by the number of processors)")  # fmt: skip
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    return parser


def _run(args: argparse.Namespace) -> int:
    resume = args.resume and os.environ.get("RANK", "0") == "0"
    with resumed_folder(args.out, resume=resume, command="train.run"):
        return _connected(args)


def _connected(args: argparse.Namespace) -> int:
    settings = _resumed(args) if args.resume else _settings(args)
    # these import torch: a mistake above is answered at once
    from train.distributed import world

    asked_workers(args)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not args.out:
        raise ValueError("--out is missing; processes of torchrun need one folder: give --out DIR")
    with world(settings["device"]) as here:
        settings["processes"] = here.size
        return _train(args, settings, here)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments ask for, as plain data for run.json."""
    for name in ("network", "data"):
        if getattr(args, name) is None:
            example = "efficientnet_b0 --data cifar10"
            raise ValueError(f"{name.upper()} is missing; e.g. python -m train.run {example}")
    recipe = asked_recipe(args)
    check_start(recipe, args.init)
    architecture = asked_architecture(args)
    return {
        "network": args.network, "data": args.data, "init": args.init,
        "architecture": json.loads(architecture.to_json()), "recipe": recipe.to_dict(),
        # these were asked for by name, so they are kept where weights come with their own
        "own_colours": any(text.startswith(("mean", "std")) for text in args.changes or []),
        "own_epochs": names_epochs(args.changes or []),
        "device": args.device or "auto", "data_root": args.data_root, "arguments": _repeated(args),
    }  # fmt: skip


def asked_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe by name, variant, resolution and changes; the proxy where nothing is asked for."""
    name = args.recipe or "proxy"
    if args.variant and name != "efficientnetv2":
        raise ValueError(f"--variant: recipe {name} has none; only efficientnetv2 differs")
    recipe = preset(name, network=args.network, variant=args.variant or "paper")
    if args.resolution is not None:  # what was asked for, instead of what was published
        recipe = replace(recipe, resolution=args.resolution, eval_resolution=args.resolution)
    return change(recipe, args.changes or [])


def _repeated(args: argparse.Namespace) -> list[str]:
    """The arguments that make an equal run, but for its folder."""
    words = [args.network]
    for name in ("data", "recipe", "variant", "init", "resolution", "width", "depth", "device"):
        value = getattr(args, name)
        words += [] if value is None else [f"--{name}", str(value)]
    words += ["--small-images"] if args.small_images else []
    for text in args.changes or []:
        words += ["--set", text]
    return words


def asked_architecture(args: argparse.Namespace) -> Architecture:
    """The network in the size asked for: by network, width, depth, small_images, resolution."""
    return sized(load_network(args.network), args)


def sized(architecture: Architecture, args: argparse.Namespace) -> Architecture:
    """The architecture in the size asked for: by width, depth, small_images, resolution."""
    sizes = {name: getattr(args, name) for name in ("depth", "width")}
    given = {name: value for name, value in sizes.items() if value is not None}
    architecture = scale(architecture, **given)
    if args.small_images:
        architecture = for_small_images(architecture)
    if args.resolution is not None:
        architecture = replace(architecture, resolution=args.resolution)
    return architecture


def _resumed(args: argparse.Namespace) -> dict[str, Any]:
    if not args.out:
        raise ValueError("resume: which run? give its folder as --out DIR")
    known = record.read_run(Path(args.out))
    given = ("network", "recipe", "variant", "init", "resolution", "width", "depth", "changes")
    for name in (*given, "small_images"):
        if getattr(args, name) not in (None, False):
            word = {"changes": "--set", "network": "NETWORK"}.get(name, f"--{name}")
            raise ValueError(f"resume: leave out {word.replace('_', '-')}; run.json knows it")
    settings = known["settings"]
    if "noisy_student" in settings:
        raise ValueError(f"resume: {args.out} is a student; go on by train.noisy_student --resume")
    if known["status"] == "finished":
        raise ValueError(f"resume: the run in {args.out} is finished")
    if not {"network", "data", "init", "recipe", "device", "data_root", "arguments"} <= {*settings}:
        raise ValueError(f"resume: {args.out} was written by another version of train.run")
    # the images may lie elsewhere now; that they are the same ones is checked
    anew = {name: getattr(args, name) for name in ("data", "device", "data_root")}
    return settings | {name: value for name, value in anew.items() if value is not None}


def _train(args: argparse.Namespace, settings: dict[str, Any], here: World) -> int:
    if not here.first and not here.met():  # until the first process has the data and the folder
        return 2  # it has ended, and said why
    architecture, recipe, data, initial = _prepared(args, settings, here)
    with _folder(args, here) as folder:
        args.out = str(folder)
        return _in_folder(args, settings, here, folder, (architecture, data, recipe), initial)


def _in_folder(
    args: argparse.Namespace, settings: dict[str, Any], here: World, folder: Path,
    parts: tuple[Architecture, Data, Recipe], initial: Network | None,
) -> int:  # fmt: skip
    from train.report import closing, opening

    architecture, data, recipe = parts
    if here.first:
        record.write_run(folder, settings, status="running")
        opening(folder, architecture, data, recipe, here)
        here.wait()
    watch = LoadWatch()
    result = _result(args, settings, here, folder, parts, initial)
    if here.first:
        load = watch.load()
        status = write_result(folder, settings, result, data, load=load)
        draw_pictures(folder, settings, result, data, device=settings["device"])
        closing(folder, settings, result, status, load=load, data=data)
    return {"": 0, "interrupted": 130}.get(result.failed, 1)


def _prepared(
    args: argparse.Namespace, settings: dict[str, Any], here: World
) -> tuple[Architecture, Recipe, Data, Network | None]:
    """Network, recipe and weights to begin with, fitted to the data; `settings` then say so."""
    from train.data import load
    from train.state import resolved

    architecture, recipe = _parts(settings)
    data = load(
        settings["data"], minival=recipe.minival, seed=recipe.seed,
        channels=architecture.in_channels, root=settings["data_root"], download=here.first,
    )  # fmt: skip
    if args.resume:
        check_same(settings.get("data_settings"), data)
    if len(data.train) < recipe.batch:
        raise ValueError(
            f"batch: {recipe.batch:,} images are more than the {len(data.train):,} to train on; "
            f"use e.g. --set batch={max(1, min(128, len(data.train) // 8))}"
        )
    architecture = replace(architecture, classes=len(data.classes))
    recipe = resolved(recipe, architecture)
    if not settings.get("own_epochs", True):  # an earlier version's epochs are what they are
        recipe = lengthened(recipe, len(data.train))
    initial, recipe = _initial(settings, architecture, recipe, resumed=_has_begun(args))
    settings |= {"recipe": recipe.to_dict(), "architecture": json.loads(architecture.to_json())}
    settings["data_settings"] = data.settings
    return architecture, recipe, data, initial


def check_same(stored: dict[str, Any] | None, data: Data) -> None:
    """ValueError where a run would go on with other images than it began with."""
    for name, value in (stored or {}).items():
        now = data.settings.get(name)
        if name not in ("source", "split") and json.loads(json.dumps(now)) != value:
            raise ValueError(
                f"resume: {data.name} is not the run's data ({name} was {value}, is {now})"
            )


def _result(
    args: argparse.Namespace, settings: dict[str, Any], here: World, folder: Path,
    parts: tuple[Architecture, Data, Recipe], initial: Network | None,
) -> Result:  # fmt: skip
    from train.loop import train
    from train.report import Reporter

    recipe = parts[2]
    with Interrupts() as interrupts, Reporter(folder, recipe, here, interrupts.asked) as report:
        return train(
            *parts, checkpoint=folder, report=report, device=settings["device"],
            workers=asked_workers(args), initial=initial,
        )  # fmt: skip


def _has_begun(args: argparse.Namespace) -> bool:
    """Whether there is a checkpoint to go on from; a run may be killed before its first one."""
    return args.resume and (Path(args.out) / "last.safetensors").exists()


def _folder(args: argparse.Namespace, here: World) -> AbstractContextManager[Path]:
    """The folder of the results, owned by the first process."""
    if not here.first:
        return nullcontext(Path(args.out))
    return results_folder(
        args.out, kind="train", files=record.FILES, command="train.run", resume=args.resume
    )


def _parts(settings: dict[str, Any]) -> tuple[Architecture, Recipe]:
    try:
        return (
            Architecture.from_dict(settings["architecture"]), Recipe.from_dict(settings["recipe"])
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"resume: run.json lacks {error}") from None


def _initial(
    settings: dict[str, Any], architecture: Architecture, recipe: Recipe, *, resumed: bool
) -> tuple[Network | None, Recipe]:
    """The network to begin with, if any, and the recipe with the colours its weights expect."""
    if not settings["init"] or resumed:
        return None, recipe
    import torch

    from search_spaces.network import build
    from train.initial import initialise

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build(architecture)
    known = initialise(network, settings["init"])
    if known.mean and known.std and not settings["own_colours"]:
        recipe = replace(recipe, mean=known.mean, std=known.std)
    settings["initial"] = str(known)
    print_err(known)
    return network, recipe


def asked_workers(args: argparse.Namespace) -> int:
    """Processes that decode streamed images: by --workers, else by the number of processors."""
    if args.workers is not None and args.workers < 0:
        raise ValueError(f"--workers: {args.workers} is not allowed; use 0 or more")
    return args.workers if args.workers is not None else max(0, available_cpus() - 2)


def write_result(
    folder: Path, settings: dict[str, Any], result: Result, data: Data, *, load: Load
) -> str:
    """How a run ended, in run.json; the status."""
    ending = "interrupted" if result.failed == "interrupted" else "failed"
    status = ending if result.failed else "finished"
    outcome = {
        "failed": result.failed, "chosen": result.chosen, "steps": result.steps,
        "epochs": len(result.history), "seconds": round(result.seconds, 2),
        # of this start, over all threads: how far the seconds are other programs' fault
        "waited_seconds": None if load.waited is None else round(load.waited, 2),
        "test": result.test._asdict() if result.test else None,
        "last": result.history[-1] if result.history else None, "skipped": _skipped(data),
        "images": scored_images(data),
    }  # fmt: skip
    record.write_run(folder, settings, status=status, **outcome)
    return status


def draw_pictures(
    folder: Path, settings: dict[str, Any], result: Result, data: Data, *, device: str
) -> None:
    """The pictures of a run that finished; to be drawn when everything else is written."""
    from train import report

    if not result.failed:
        recipe = Recipe.from_dict(settings["recipe"])
        title = f"{settings['network']} on {data.name}, recipe {recipe.name}"
        report.pictures(folder, result, data, recipe, title=title, device=device, workers=0)


def _skipped(data: Data) -> list[str]:
    """Files that could not be read: those known at the start, and those met since."""
    splits = [split for split in (data.train, data.minival, data.test) if split is not None]
    met = [name for split in splits for name in split.unreadable]
    return list(dict.fromkeys([*data.skipped, *met]))


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP end the run after its step."""

    def __init__(self) -> None:
        self._asked = False

    def asked(self) -> bool:
        """Whether one of them came."""
        return self._asked

    def __enter__(self) -> Interrupts:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in signals.ENDING:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once
        self._asked = True
