"""The state of a training run, in memory and in its checkpoint."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import Network, build
from train import checkpoint as files
from train.data import Data
from train.data.augment import Preparation
from train.distill import Teacher, load_teacher
from train.distributed import World
from train.inherit.elastic import Elastic, elastic_of
from train.inherit.importance import Importance
from train.inherit.inheritance import some_batches
from train.norm_momentum import NormStatistics, settled_after
from train.optimizer import MovingAverage, optimizer
from train.recipe import NORM_STATISTICS, Recipe
from train.start import check_pretrained_start
from train.whitening import whiten_stem
from vbs.accuracy import near_best
from vbs.text import quoted


@dataclass
class Run:
    """The inputs of a training run, and everything that changes during it.

    loaders        processes that decode streamed images.
    norms          averages the batch-norm statistics.
    pretrained     whether the run started from given weights.
    teacher        network whose outputs are targets in addition to the labels, if any.
    elastic        sub-networks that learn with the network, if any.
    seconds        of training in all epochs, without evaluation.
    epoch_loss     sum of the losses of the epoch's steps so far, on the device.
    epoch_seconds  of training in the current epoch, without evaluation.
    chosen, best   description of the best weights so far, and these weights.
    """

    architecture: Architecture
    data: Data
    recipe: Recipe
    world: World
    loaders: int
    network: Network
    average: MovingAverage | None
    optimizer: torch.optim.Optimizer
    norms: NormStatistics
    pretrained: bool
    teacher: Teacher | None = None
    elastic: Elastic | None = None
    step: int = 0
    seconds: float = 0.0
    epoch_loss: Tensor | float = 0.0
    epoch_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def precision(self) -> torch.dtype:
        """Data type of convolutions and matrix products."""
        return precision(self.recipe, self.world.device)

    @property
    def preparation(self) -> Preparation:
        """Preparation of evaluation images."""
        return preparation(self.recipe)


def resolved(recipe: Recipe, architecture: Architecture) -> Recipe:
    """Return the recipe with sizes of 0 replaced by those of the architecture."""
    side = recipe.resolution or architecture.resolution
    return replace(recipe, resolution=side, eval_resolution=recipe.eval_resolution or side)


def precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Return the data type of the recipe's precision on a device.

    "auto" is float32 on a CPU, where bfloat16 was slower for every network measured, by 2 to 4
    times for depthwise convolutions (experiments/bench_training.py).
    """
    if recipe.precision == "auto":
        # GPUs before Ampere compute bfloat16 by float32, more slowly than float32 itself
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32


def preparation(recipe: Recipe) -> Preparation:
    """Return the preparation of the recipe's evaluation images."""
    return Preparation(
        size=recipe.eval_resolution, crop_share=recipe.eval_crop, mean=recipe.mean, std=recipe.std
    )


def share_of(recipe: Recipe, here: World) -> int:
    """Return the number of images on a device at once; raise ValueError for uneven shares."""
    if recipe.batch % here.size:
        raise ValueError(f"batch: {recipe.batch} cannot be shared among {here.size} processes")
    share = recipe.batch // here.size
    part = min(recipe.device_batch or share, share)
    if share % part:
        raise ValueError(f"device_batch: {part} does not divide the {share} images of a device")
    return part


def batches_of_step(run: Run) -> int:
    """Return the number of batches that this process accumulates in an optimizer step."""
    return run.recipe.batch // run.world.size // share_of(run.recipe, run.world)


def begin(
    architecture: Architecture,
    data: Data,
    recipe: Recipe,
    here: World,
    loaders: int,
    initial: Network | None,
) -> Run:
    """Return the run before its first step; equal arguments give equal weights.

    Raises ValueError if the recipe would replace given weights.
    """
    torch.manual_seed(recipe.seed)
    network = build(architecture, dropout=recipe.dropout, drop_path=recipe.drop_path)
    if initial is not None:
        check_pretrained_start(recipe)
        files.load_into(network, initial.state_dict(), source="initial")
    if recipe.stem != "random":
        whiten_stem(
            network,
            data.train,
            replace(preparation(recipe), size=recipe.resolution),  # of the last stage
            loaders=loaders,
        )
    network = network.to(here.device, memory_format=torch.channels_last)
    if recipe.train == "classifier":
        network.requires_grad_(False)
        network.classifier.requires_grad_(True)
    if recipe.stem == "frozen":
        network.conv_stem.requires_grad_(False)
    average = MovingAverage(network, recipe.ema_decay) if recipe.ema_decay else None
    made, pretrained = optimizer(recipe, network), initial is not None
    norms = NormStatistics(network, near=pretrained)
    teacher = load_teacher(recipe, architecture.classes, here.device)
    elastic = None
    if recipe.elastic:
        elastic = _elastic(recipe, network, data, here, pretrained=pretrained)
    return Run(
        architecture,
        data,
        recipe,
        here,
        loaders,
        network,
        average,
        made,
        norms,
        pretrained,
        teacher,
        elastic,
    )


def _elastic(
    recipe: Recipe, network: Network, data: Data, here: World, *, pretrained: bool
) -> Elastic:
    """Return the sub-networks to train; their channels and layers are fixed for the run."""
    if here.size > 1:
        raise ValueError("elastic: sub-networks are trained in one process; use --set elastic=0")
    batches = []
    if pretrained:
        batches = some_batches(data.train, preparation(recipe), device=here.device)
    return elastic_of(network, batches, sampled=recipe.elastic)


def choose(run: Run, row: dict[str, Any], folder: Path | None) -> None:
    """Keep the weights unless earlier ones are better by more than a standard error on the minival.

    The highest accuracy of all epochs is partly luck, more so on a small minival. Of weights that
    are equally good within the binomial error, those of the last epoch have been trained longest,
    with the lowest learning rate (the one-standard-error rule, Breiman et al. 1984).

    Without a minival, the last weights are kept. They are also kept if sub-networks are trained,
    because these still improve when the network itself no longer does.
    """
    kinds = {"val": "raw", "ema": "ema"}
    scores = {kind: row[f"{kind}_top1"] for kind in kinds if f"{kind}_top1" in row}
    if scores:
        assert run.data.minival is not None
        kind = max(scores, key=lambda name: scores[name])
        best = max(scores[kind], run.chosen.get("best", run.chosen.get("top1", 0.0)))
        if not near_best(scores[kind], best, len(run.data.minival)) and run.elastic is None:
            return
        run.chosen = {"top1": scores[kind], "loss": row[f"{kind}_loss"], "best": best}
    else:
        kind = "val" if run.average is None else "ema"
        run.chosen = {}
    run.chosen |= {"epoch": row["epoch"], "weights": kinds[kind]}
    network = run.network if kind == "val" or run.average is None else run.average.network
    run.best = {name: value.detach().clone() for name, value in network.state_dict().items()}
    if folder is not None and run.world.first:
        files.write_weights(folder / "best.safetensors", weights(run))


def weights(run: Run) -> files.Weights:
    """Return the chosen weights with their description, as written to best.safetensors."""
    recipe = run.recipe
    about: dict[str, Any] = {"data": run.data.name, "chosen": run.chosen}
    about["recipe"] = recipe.to_dict()
    if run.elastic is not None:
        about["importance"] = run.elastic.importance.to_dict()
    return files.Weights(
        run.best,
        run.architecture,
        run.data.classes,
        recipe.mean,
        recipe.std,
        recipe.eval_resolution,
        recipe.eval_crop,
        about,
    )


def save(run: Run, path: Path) -> None:
    """Write everything that `restore` needs to a file; only the first process writes."""
    if not run.world.first:
        return
    tensors = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    tensors |= {
        f"optimizer.{name}": value for name, value in files.flatten_optimizer(run.optimizer).items()
    }
    tensors["epoch_loss"] = torch.as_tensor(run.epoch_loss, dtype=torch.float64)
    if run.average is not None:
        average = run.average.network.state_dict()
        tensors |= {f"average.{name}": value for name, value in average.items()}
    if run.best:
        tensors |= {f"best.{name}": value for name, value in run.best.items()}
    counters = {
        **_identity(run),
        "step": run.step,
        "seconds": run.seconds,
        "epoch_seconds": run.epoch_seconds,
        "history": run.history,
        "chosen": run.chosen,
        "pretrained": run.pretrained,
        "norm_statistics": NORM_STATISTICS,
    }
    if run.elastic is not None:
        counters["importance"] = run.elastic.importance.to_dict()
    files.write_state(path, tensors, counters)


def restore(run: Run, path: Path) -> None:
    """Resume from a file of `save`; raise ValueError if it belongs to another run."""
    tensors, counters = files.read_state(path)
    if isinstance(counters.get("recipe"), dict):
        with contextlib.suppress(ValueError, TypeError):  # fill in fields of later versions
            counters["recipe"] = Recipe.from_dict(counters["recipe"]).to_dict()
    for name, value in _identity(run).items():
        if counters.get(name) != value:
            raise ValueError(f"{path}: {_difference(name, counters.get(name), value)}")
    _check_norms(run, counters, path)
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        groups.setdefault(kind, {})[name] = value
    try:
        files.load_into(run.network, groups["network"], source=path)
        if run.average is not None:
            files.load_into(run.average.network, groups["average"], source=path)
        files.restore_optimizer(run.optimizer, groups.get("optimizer", {}))
        run.epoch_loss = groups["epoch_loss"][""].to(run.world.device)
        run.best = {k: v.to(run.world.device) for k, v in groups.get("best", {}).items()}
        run.step, run.seconds = int(counters["step"]), float(counters["seconds"])
        run.epoch_seconds = float(counters["epoch_seconds"])
        run.pretrained = bool(counters.get("pretrained", False))
        run.history, run.chosen = list(counters["history"]), dict(counters["chosen"])
        if run.elastic is not None:
            known = Importance.from_dict(counters["importance"], run.architecture)
            run.elastic = replace(run.elastic, importance=known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: incomplete, {error} is missing") from None


def _check_norms(run: Run, counters: dict[str, Any], path: Path) -> None:
    """Raise ValueError if the batch-norm statistics so far were averaged by another rule."""
    settled = settled_after(run.architecture.bn_momentum)
    if counters.get("norm_statistics") == NORM_STATISTICS or run.recipe.train == "classifier":
        return
    if int(counters.get("step", 0)) * batches_of_step(run) < settled:
        raise ValueError(
            f"{path}: its first {settled:,} batches are evaluated differently by this version "
            "(batch-norm statistics); train again in another folder"
        )


def _identity(run: Run) -> dict[str, Any]:
    """Return, as plain JSON data, everything that must be equal for a run to be resumed."""
    described = {
        "architecture": json.loads(run.architecture.to_json()),
        "recipe": run.recipe.to_dict(),
        # without the location of the images: their digests show whether they are the same
        "data": {k: v for k, v in run.data.settings.items() if k not in ("source", "split")},
        "processes": run.world.size,
    }
    return json.loads(json.dumps(described))


def _difference(name: str, stored: Any, own: Any) -> str:
    """Describe the first difference between a checkpoint's run and this one."""
    if isinstance(stored, dict) and isinstance(own, dict):
        for field_name in sorted({*stored, *own}):
            old, new = stored.get(field_name), own.get(field_name)
            if old != new:
                shown = f"{field_name} {quoted(old)} in the checkpoint, {quoted(new)} here"
                return f"it belongs to a run with another {name} ({shown[:200]})"
    shown = f"{stored} in the checkpoint, {own} here"
    return f"it belongs to a run with another number of {name} ({shown})"
