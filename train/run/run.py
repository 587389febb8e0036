"""Training of one network from a config: `run_training`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train import record
from train.length import check_batch, lengthened, names_epochs
from train.loggers.catalog import import_own
from train.resolve import architecture_of, recipe_of
from train.run.config import COMMAND, RECORD, TrainConfig
from train.run.record import Training, check_same, read_training
from train.start import check_start
from vbs.console import print_err
from vbs.folder import results_folder
from vbs.runs import opened_run
from vbs.signals import Interrupted

if TYPE_CHECKING:
    from search_spaces.network import Network
    from train.data import Data
    from train.distributed import World
    from train.run.result import TrainResult

LAST = "last.safetensors"  # the checkpoint from which a run is resumed


def run_training(
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> TrainResult | int:
    """Train a network and write the results to a folder, as `python -m train.run` does.

    config   options of a new training; None with `resume`.
    out      the folder; default: a new runs/train-N.
    resume   whether to resume the run in `out`, whose config is read from there.
    changes  options of a resumed run to change, e.g. {"data": "imagefolder:DIR"}.

    Ctrl-C ends the training after the current step, with the status "interrupted". Under torchrun,
    processes return the exit code 2 if the first process has failed.

    Raises ValueError if options do not go together, or if the folder contains another run or is
    used by another process.
    """
    place = None if out is None else str(out)
    first = os.environ.get("RANK", "0") == "0"
    with opened_run(
        COMMAND, config, out=out, resume=resume, changes=changes, lock=first
    ) as earlier:
        if earlier is not None:
            training = read_training(earlier, changes or {})
        else:
            assert config is not None  # see opened_run
            training = _new(config)
        import_own(training.config.log)
        # imports torch only now, so that errors in the options are reported at once
        from train.distributed import world

        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not place:
            raise ValueError(
                "--out is missing; processes of torchrun need one folder: give --out DIR"
            )
        with world(training.config.device) as here:
            training = replace(training, processes=here.size)
            return _train(training, place, here, resume=resume)


def _new(config: TrainConfig) -> Training:
    assert config.network is not None  # see TrainConfig.check
    recipe = recipe_of(config, config.network, resolution=config.resolution)
    check_start(recipe, config.init)
    return Training(config, architecture_of(config.network, config), recipe)


def _train(training: Training, out: str | None, here: World, *, resume: bool) -> TrainResult | int:
    from train.run.training import train_in_folder

    if not here.first and not here.met():  # waits until the first process has data and folder
        return 2  # the first process has ended and printed why
    begun = resume and Path(out or "", LAST).exists()  # a run may end before its first checkpoint
    folder = Path(out) if resume and out else None
    try:
        training, data, initial = _with_data(training, here, resumed=resume, begun=begun)
        with _folder(out, here, resume=resume) as folder:
            return train_in_folder(training, data, folder, here, initial=initial)
    except KeyboardInterrupt:
        if folder is None or not (folder / RECORD).exists():
            raise
        again = training.command("--resume", "--out", str(folder))
        raise Interrupted(f"interrupted; resume by: {again}") from None


def _folder(out: str | None, here: World, *, resume: bool) -> AbstractContextManager[Path]:
    """Return the folder of the results, which the first process locks."""
    if not here.first:
        return nullcontext(Path(out or ""))
    return results_folder(out, kind="train", files=record.FILES, command="train.run", resume=resume)


def _with_data(
    training: Training, here: World, *, resumed: bool, begun: bool
) -> tuple[Training, Data, Network | None]:
    """Load the images, fit the training to them, and return the initial network, if any."""
    from train.data import load
    from train.data.reading import Reading
    from train.distill import check_teacher
    from train.state import resolved

    config, architecture, recipe = training.config, training.architecture, training.recipe
    assert config.data is not None  # see TrainConfig.check
    data = load(
        config.data,
        minival=recipe.minival,
        seed=recipe.seed,
        root=config.data_root,
        reading=Reading(channels=architecture.in_channels, download=here.first),
    )
    if resumed:
        check_same(training.data_settings, data)
    check_batch(recipe, len(data.train))
    check_teacher(recipe, len(data.classes))
    architecture = replace(architecture, classes=len(data.classes))
    recipe = resolved(recipe, architecture)
    if not resumed and not names_epochs(config.changes):
        recipe = lengthened(recipe, len(data.train))
    training = replace(
        training, architecture=architecture, recipe=recipe, data_settings=data.settings
    )
    if not config.init or begun:
        return training, data, None
    training, network = _initialised(training)
    return training, data, network


def _initialised(training: Training) -> tuple[Training, Network]:
    """Return the initialised network, and the training with the normalisation of its weights."""
    import torch

    from search_spaces.network import build
    from train.initial import initialise

    config, recipe = training.config, training.recipe
    assert config.init is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build(training.architecture)
    known = initialise(network, config.init)
    # mean and std that the user sets are kept
    own_colours = any(text.startswith(("mean", "std")) for text in config.changes)
    if known.mean and known.std and not own_colours:
        recipe = replace(recipe, mean=known.mean, std=known.std)
    print_err(known)
    return replace(training, recipe=recipe, initial=str(known)), network
