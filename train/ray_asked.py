"""What `python -m train.ray_tune` is asked for, as plain data: its networks, recipes and images."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture
from train.command import asked_architecture, asked_recipe, check_same, sized
from train.parser import absolute_data, print_notes
from train.recipe import NORM_STATISTICS, Recipe
from vbs.json_text import parse_json

if TYPE_CHECKING:
    from train.data import Data


def asked_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments ask for, as plain data for run.json."""
    for name in ("architectures", "data"):
        if getattr(args, name) is None:
            raise ValueError(
                f"--{name} is missing; e.g. python -m train.ray_tune --architectures "
                "efficientnet_b0 net.json --data cifar10"
            )
    scheduler = args.scheduler or "fifo"
    if scheduler not in ("asha", "fifo"):
        raise ValueError(f"--scheduler: {scheduler!r} is unknown; use asha or fifo")
    if args.recipe == "linear-probe":
        raise ValueError("--recipe: a linear probe needs weights; use train.run with --init")
    base = asked_recipe(_named(args, args.architectures[0]))
    trials = []
    for label, architecture in _networks(args):
        recipe = asked_recipe(_named(args, label))
        for seed in args.seeds or [recipe.seed]:
            one = replace(recipe, seed=seed)
            trials.append({
                "network": label, "architecture": json.loads(architecture.to_json()),
                "recipe": one.to_dict(),
            })  # fmt: skip
    _check_scheduler(args, scheduler, trials)
    channels = {trial["architecture"]["in_channels"] for trial in trials}
    if len(channels) > 1:
        raise ValueError("architectures: some take colour images and some grey; train them apart")
    return {
        **places(args), "minival": base.minival,
        "split_seed": base.seed, "workers": args.workers_per_trial or 1, "scheduler": scheduler,
        "grace": args.grace or 1, "factor": args.factor or 4.0, "trials": trials,
        "norm_statistics": NORM_STATISTICS,
        "asked": hashlib.sha256(json.dumps(trials).encode()).hexdigest()[:16],
    }  # fmt: skip


def _check_scheduler(
    args: argparse.Namespace, scheduler: str, trials: Sequence[dict[str, Any]]
) -> None:
    if scheduler == "fifo":
        for name in ("grace", "factor"):
            if getattr(args, name) is not None:
                raise ValueError(
                    f"--{name}: fifo stops nothing early; leave it out, or add --scheduler asha"
                )
        return
    epochs = max(trial["recipe"]["epochs"] for trial in trials)
    if args.grace is not None and args.grace > epochs:
        raise ValueError(f"--grace: {args.grace} is more than the {epochs} epochs; use fewer")


def _named(args: argparse.Namespace, network: str) -> argparse.Namespace:
    other = copy.copy(args)
    other.network = network
    return other


def _networks(args: argparse.Namespace) -> Iterator[tuple[str, Architecture]]:
    """All networks asked for, in the size asked for, and what each is called."""
    for text in args.architectures:
        listed = _listed(text)
        if listed is None:
            yield text, asked_architecture(_named(args, text))
            continue
        for number, fields in enumerate(listed):
            label = f"{text}[{number}]"
            if isinstance(fields, dict) and "architecture" in fields:
                fields = fields["architecture"]
            try:
                architecture = Architecture.from_dict(fields)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None
            yield label, sized(architecture, args)


def _listed(text: str) -> list[Any] | None:
    """The entries of a JSON file that holds a list; None for anything else."""
    path = Path(text)
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_bytes())
    except ValueError:
        return None  # said by whoever reads it as a network
    if isinstance(content, list) and not content:
        raise ValueError(f"{text}: the list of networks is empty")
    return content if isinstance(content, list) else None


def places(args: argparse.Namespace) -> dict[str, str | None]:
    """Where the images are, by paths that mean the same in every process."""
    root = args.data_root
    return {
        "data": absolute_data(args.data) if args.data is not None else None,
        "data_root": str(Path(root).absolute()) if root is not None else None,
    }


def fitted_data(settings: dict[str, Any], *, resumed: bool) -> Data:
    """The images; the settings then hold the trials by name, with all that depends on the data."""
    from train.data import load
    from train.state import resolved

    trials = settings["trials"]
    data = load(
        settings["data"], minival=settings["minival"], seed=settings["split_seed"],
        channels=trials[0]["architecture"]["in_channels"], root=settings["data_root"],
    )  # fmt: skip
    print_notes(data.notes)
    if len(data.classes) < 2:
        raise ValueError(f"data: {data.name} has {len(data.classes)} class; use two or more")
    if settings["scheduler"] == "asha" and data.minival is None:
        raise ValueError("--scheduler: asha needs images held out; use --set minival=0.1")
    if resumed:
        check_same(settings["data_settings"], data)
        settings["data_settings"] = data.settings  # they may have moved
        return data
    whole: dict[str, dict[str, Any]] = {}
    for trial in trials:
        fields = {**trial["architecture"], "classes": len(data.classes)}
        architecture = Architecture.from_dict(fields)
        recipe = resolved(Recipe.from_dict(trial["recipe"]), architecture)
        if len(data.train) < recipe.batch:
            raise ValueError(
                f"batch: {recipe.batch:,} images are more than the {len(data.train):,} to train "
                f"on; use e.g. --set batch={max(1, min(128, len(data.train) // 8))}"
            )
        if recipe.batch % settings["workers"]:
            raise ValueError(
                f"batch: {recipe.batch} cannot be shared among {settings['workers']} processes"
            )
        name = f"{architecture.key}-s{recipe.seed}"
        whole.setdefault(name, {  # the same network twice is one trial
            "name": name, "network": trial["network"], "recipe": recipe.to_dict(),
            "architecture": json.loads(architecture.to_json()),
        })  # fmt: skip
    settings |= {"trials": list(whole.values()), "data_settings": data.settings}
    return data
