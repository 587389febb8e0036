"""The plan of many trainings as plain data: networks, recipes and images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture
from train.length import check_batch, first_judged, lengthened, names_epochs, steps_per_epoch
from train.parser import FACTOR, print_notes
from train.ray_tune.config import TuneConfig
from train.recipe import Recipe
from train.resolve import architecture_of, recipe_of, sized
from train.run.record import check_same
from train.scored import scored_images
from train.start import check_random_start
from vbs.json_text import parse_json

if TYPE_CHECKING:
    from train.data import Data

Trial = Mapping[str, Any]  # "network" (its name), "architecture", "recipe"; "name" is added later


@dataclass(frozen=True)
class Plan:
    """A complete description of many trainings.

    minival, split_seed  share and seed of the split of the images, the same for all trials.
    digest               hash of the requested networks and recipes.
    own_epochs           whether the user sets the epochs; else they depend on the images.
    data_settings        see `train.data.Data.settings`; None before the images are loaded.
    images               numbers of images, see `train.scored.scored_images`.
    """

    config: TuneConfig
    trials: Sequence[Trial]
    minival: float
    split_seed: int
    digest: str
    own_epochs: bool
    data_settings: Mapping[str, Any] | None = None
    images: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs of the longest trial."""
        return max(trial["recipe"]["epochs"] for trial in self.trials)


def new_plan(config: TuneConfig) -> Plan:
    """Return the plan of a config; raise ValueError if it cannot be trained."""
    base = _recipe(config, config.architectures[0])
    check_random_start(base, "train.ray_tune")
    trials = []
    for label, architecture in _networks(config):
        recipe = _recipe(config, label)
        for seed in config.seeds_from(recipe.seed):
            one = replace(recipe, seed=seed)
            trials.append(
                {
                    "network": label,
                    "architecture": json.loads(architecture.to_json()),
                    "recipe": one.to_dict(),
                }
            )
    channels = {trial["architecture"]["in_channels"] for trial in trials}
    if len(channels) > 1:
        raise ValueError(
            "architectures: some take colour images and some grey; train them separately"
        )
    plan = Plan(
        config,
        trials,
        base.minival,
        base.seed,
        digest=hashlib.sha256(json.dumps(trials).encode()).hexdigest()[:16],
        own_epochs=names_epochs(config.changes),
    )
    if plan.own_epochs:
        _check_grace(plan)
    return plan


def _recipe(config: TuneConfig, network: str) -> Recipe:
    return recipe_of(config, network, resolution=config.resolution)


def _check_grace(plan: Plan) -> None:
    """Raise ValueError if no trial would be compared with others before its end."""
    grace, epochs = plan.config.grace, plan.epochs
    if grace is not None and grace > epochs:
        raise ValueError(f"--grace: {grace} is more than the {epochs} epochs; use fewer")


def _networks(config: TuneConfig) -> Iterator[tuple[str, Architecture]]:
    """Yield the names of all requested networks, and the networks in the requested size."""
    for text in config.architectures:
        listed = _listed(text)
        if listed is None:
            yield text, architecture_of(text, config)
            continue
        for number, fields in enumerate(listed):
            label = f"{text}[{number}]"
            if isinstance(fields, dict) and "architecture" in fields:
                fields = fields["architecture"]
            try:
                architecture = Architecture.from_dict(fields)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None
            yield label, sized(architecture, config)


def _listed(text: str) -> list[Any] | None:
    """Return the entries of a JSON file that contains a list; None for anything else."""
    path = Path(text)
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_bytes())
    except ValueError:
        return None  # reported when it is read as a network
    if isinstance(content, list) and not content:
        raise ValueError(f"{text}: the list of networks is empty")
    return content if isinstance(content, list) else None


def with_data(plan: Plan, *, resumed: bool) -> tuple[Plan, Data]:
    """Load the images; complete the plan with names of trials and all that depends on them."""
    from train.data import load
    from train.data.reading import Reading

    config = plan.config
    assert config.data is not None  # see TuneConfig.check
    data = load(
        config.data,
        minival=plan.minival,
        seed=plan.split_seed,
        root=config.data_root,
        reading=Reading(channels=plan.trials[0]["architecture"]["in_channels"]),
    )
    print_notes(data.notes)
    if len(data.classes) < 2:
        raise ValueError(f"data: {data.name} has {len(data.classes)} class; use two or more")
    if config.scheduler == "asha" and data.minival is None:
        raise ValueError("--scheduler: asha needs held-out images; use --set minival=0.1")
    if resumed:
        check_same(plan.data_settings, data)
    else:
        plan = replace(plan, trials=_fitted_trials(plan, data))
        plan = replace(plan, config=_with_rungs(plan, len(data.train)))
    # the images of a resumed run may be in another place
    return replace(plan, data_settings=data.settings, images=scored_images(data)), data


def _fitted_trials(plan: Plan, data: Data) -> list[Trial]:
    """Return the trials with their names, and with sizes and lengths that depend on the data."""
    from train.distill import check_teacher
    from train.state import resolved

    # all trials have the same teacher
    check_teacher(Recipe.from_dict(plan.trials[0]["recipe"]), len(data.classes))
    whole: dict[str, Trial] = {}
    processes = plan.config.processes_per_trial
    for trial in plan.trials:
        fields = {**trial["architecture"], "classes": len(data.classes)}
        architecture = Architecture.from_dict(fields)
        recipe = resolved(Recipe.from_dict(trial["recipe"]), architecture)
        if not plan.own_epochs:
            recipe = lengthened(recipe, len(data.train))
        check_batch(recipe, len(data.train))
        if recipe.batch % processes:
            raise ValueError(f"batch: {recipe.batch} cannot be shared among {processes} processes")
        name = f"{architecture.key}-s{recipe.seed}"
        whole.setdefault(
            name,
            {  # the same network twice is one trial
                "name": name,
                "network": trial["network"],
                "recipe": recipe.to_dict(),
                "architecture": json.loads(architecture.to_json()),
            },
        )
    return list(whole.values())


def _with_rungs(plan: Plan, images: int) -> TuneConfig:
    """Return the config with ASHA's factor and first rung."""
    _check_grace(plan)
    config = plan.config
    if config.scheduler == "fifo":
        return config
    grace = config.grace
    if grace is None:
        recipes = [Recipe.from_dict(trial["recipe"]) for trial in plan.trials]
        per_epoch = min(steps_per_epoch(recipe, images) for recipe in recipes)
        grace = min(plan.epochs, first_judged(plan.epochs, per_epoch))
    return replace(config, grace=grace, factor=config.factor or FACTOR)
