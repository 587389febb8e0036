"""What `python -m train.ray_tune` is asked for, as plain data: its networks, recipes and images."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture
from train.length import first_judged, lengthened, names_epochs, steps_per_epoch
from train.options import RecipeOptions, SizeOptions
from train.parser import absolute_data, print_notes
from train.recipe import NORM_STATISTICS, Recipe, check_random_start
from train.resolve import architecture_of, recipe_of, sized
from train.run.record import check_same
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
    base = _recipe(args, args.architectures[0])
    check_random_start(base, "train.ray_tune")
    trials = []
    for label, architecture in _networks(args):
        recipe = _recipe(args, label)
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
        "grace": args.grace, "factor": args.factor or 4.0, "trials": trials,
        "norm_statistics": NORM_STATISTICS, "own_epochs": names_epochs(args.changes or []),
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
    if names_epochs(args.changes or []):  # else they depend on the images
        _check_grace(args.grace, trials)


def _check_grace(grace: int | None, trials: Sequence[dict[str, Any]]) -> None:
    """ValueError where no trial would be compared with others before its end."""
    epochs = max(trial["recipe"]["epochs"] for trial in trials)
    if grace is not None and grace > epochs:
        raise ValueError(f"--grace: {grace} is more than the {epochs} epochs; use fewer")


def _recipe(args: argparse.Namespace, network: str) -> Recipe:
    options = RecipeOptions(
        recipe=args.recipe or "proxy", variant=args.variant, changes=args.changes or ()
    )
    return recipe_of(options, network, resolution=args.resolution)


def _size(args: argparse.Namespace) -> SizeOptions:
    names = ("resolution", "width", "depth", "small_images")
    return SizeOptions(**{name: getattr(args, name) for name in names})


def _networks(args: argparse.Namespace) -> Iterator[tuple[str, Architecture]]:
    """All networks asked for, in the size asked for, and what each is called."""
    for text in args.architectures:
        listed = _listed(text)
        if listed is None:
            yield text, architecture_of(text, _size(args))
            continue
        for number, fields in enumerate(listed):
            label = f"{text}[{number}]"
            if isinstance(fields, dict) and "architecture" in fields:
                fields = fields["architecture"]
            try:
                architecture = Architecture.from_dict(fields)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None
            yield label, sized(architecture, _size(args))


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
    settings |= {"trials": _fitted_trials(settings, data), "data_settings": data.settings}
    settings["grace"] = _first_rung(settings, len(data.train))
    return data


def _fitted_trials(settings: dict[str, Any], data: Data) -> list[dict[str, Any]]:
    """The trials with names, sizes and lengths that depend on the data."""
    from train.state import resolved

    whole: dict[str, dict[str, Any]] = {}
    for trial in settings["trials"]:
        fields = {**trial["architecture"], "classes": len(data.classes)}
        architecture = Architecture.from_dict(fields)
        recipe = resolved(Recipe.from_dict(trial["recipe"]), architecture)
        if not settings["own_epochs"]:
            recipe = lengthened(recipe, len(data.train))
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
    return list(whole.values())


def _first_rung(settings: dict[str, Any], images: int) -> int:
    """The epoch after which trials are compared first; 1 where none is stopped early."""
    _check_grace(settings["grace"], settings["trials"])
    if settings["scheduler"] == "fifo" or settings["grace"] is not None:
        return settings["grace"] or 1
    recipes = [Recipe.from_dict(trial["recipe"]) for trial in settings["trials"]]
    epochs = max(recipe.epochs for recipe in recipes)
    per_epoch = min(steps_per_epoch(recipe, images) for recipe in recipes)
    return min(epochs, first_judged(epochs, per_epoch))
