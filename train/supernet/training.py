"""Training of the shared weights of a space from random ones; it can be resumed at any time.

As in `train.loop`, all randomness of a step is drawn from the seed and the step's number, so that a
resumed training equals an uninterrupted one, bit for bit on a CPU.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.space import SearchSpace
from train import checkpoint as files
from train.data import Data, Step
from train.data.augment import mix
from train.distributed import limit_threads, pick_device
from train.length import check_batch
from train.memory_use import keep_freed_memory
from train.optimizer import learning_rate, optimizer, set_learning_rate
from train.progressive import phase
from train.recipe import Recipe
from train.state import precision
from train.steps import augmentation, seed_of
from train.supernet.sandwich import Sandwich
from train.supernet.weights import Supernet, supernet

STATE, WEIGHTS = "last.safetensors", "supernet.safetensors"
SAVE_EVERY = 30.0  # seconds between checkpoints
VERSION = 1  # of the training rules; weights of other versions are trained again


@dataclass(frozen=True)
class SupernetTraining:
    """A training of a supernet: networks, images and recipe.

    side  size of the training images in pixels: the largest resolution of the networks.
    """

    sandwich: Sandwich
    data: Data
    recipe: Recipe
    side: int

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the weights, as plain data."""
        sandwich = self.sandwich
        described = {
            "version": VERSION,
            "space": sandwich.space.name,
            "settings": dict(sandwich.space.settings),
            "choices": {name: list(map(str, o)) for name, o in sandwich.space.choices.items()},
            "networks": hashlib.sha256(sandwich.genotypes.tobytes()).hexdigest(),
            "sampled": sandwich.sampled,
            "labels": sandwich.labels,
            "recipe": self.recipe.to_dict(),
            "side": self.side,
            # without the location of the images: their digests show whether they are the same
            "data": {k: v for k, v in self.data.settings.items() if k not in ("source", "split")},
        }
        return json.loads(json.dumps(described, default=str))


@dataclass
class _State:
    network: Supernet
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    work: float = 0.0
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """Trained shared weights.

    seconds  duration of the training.
    work     seconds of all processors together; on a GPU, the duration.
    """

    tensors: dict[str, Tensor]
    seconds: float
    work: float
    steps: int


def train_supernet(
    training: SupernetTraining,
    folder: Path,
    *,
    device: str = "auto",
    report: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Train to the end, or resume the training in the folder; write the result there.

    report  called after every step with its number, the number of steps, and the largest network's
            loss.

    Raises ValueError if the loss is not a number, or if the folder contains another training.
    """
    known = read_supernet(folder / WEIGHTS)
    if known is not None:
        return known
    where = pick_device(device)
    limit_threads()
    if where.type == "cpu":
        keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[where.index or 0] if where.type == "cuda" else []):
        state = _begin(training, folder / STATE, where)
        _train(training, state, folder / STATE, where, report)
    about = {
        "seconds": state.seconds,
        "work": state.work,
        "steps": state.step,
        "losses": state.losses,
    }
    files.write_state(folder / WEIGHTS, state.network.tensors(), about)
    (folder / STATE).unlink(missing_ok=True)
    trained = read_supernet(folder / WEIGHTS)
    assert trained is not None
    return trained


def read_supernet(path: Path) -> Trained | None:
    """Return trained shared weights, without gradients; None if there are no readable ones."""
    try:
        tensors, about = files.read_state(path)
        return Trained(tensors, float(about["seconds"]), float(about["work"]), int(about["steps"]))
    except (ValueError, KeyError, TypeError):
        return None


def fresh(space: SearchSpace, seed: int) -> Supernet:
    """Return shared weights before the first step; sets torch's random state by the seed."""
    torch.manual_seed(seed)
    return supernet(space)


def _begin(training: SupernetTraining, path: Path, where: torch.device) -> _State:
    """Return the training before its next step."""
    recipe = training.recipe
    network = fresh(training.sandwich.space, recipe.seed).to(where).train()
    made = optimizer(recipe, network)
    state = _State(network, made)
    if path.exists():
        tensors, counters = files.read_state(path)
        if counters.get("identity") != training.identity():
            raise ValueError(
                f"{path} belongs to another supernet; remove it, or use another folder"
            )
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            groups[kind][name] = value.to(where)
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.copy_(groups["network"][name])
        files.restore_optimizer(made, groups["optimizer"])
        state.step, state.seconds = int(counters["step"]), float(counters["seconds"])
        state.work = float(counters["work"])
        state.losses = [float(loss) for loss in counters["losses"]]
    return state


def _save(training: SupernetTraining, state: _State, path: Path) -> None:
    tensors = {f"network.{name}": value for name, value in state.network.tensors().items()}
    memory = files.flatten_optimizer(state.optimizer)
    tensors |= {f"optimizer.{name}": value for name, value in memory.items()}
    counters = {
        "identity": training.identity(),
        "step": state.step,
        "seconds": state.seconds,
        "work": state.work,
        "losses": state.losses,
    }
    files.write_state(path, tensors, counters)


def _train(
    training: SupernetTraining,
    state: _State,
    path: Path,
    where: torch.device,
    report: Callable[[int, int, float], None] | None,
) -> None:
    recipe, split = training.recipe, training.data.train
    check_batch(recipe, len(split))
    per_epoch = len(split.order(np.random.default_rng((recipe.seed, 0)), recipe.batch))
    steps = per_epoch * recipe.epochs
    saved, past = -math.inf, _clocks(where)  # the first checkpoint follows the first step
    while state.step < steps:
        epoch, done = divmod(state.step, per_epoch)
        order = split.order(np.random.default_rng((recipe.seed, epoch)), recipe.batch)[done:]
        parts = [
            Step(indices, slice(None), seed_of(recipe, state.step + ahead))
            for ahead, indices in enumerate(order)
        ]
        look = augmentation(recipe, phase(recipe, epoch), side=training.side)
        for batch in split.batches(parts, look, device=where, workers=0):
            set_learning_rate(state.optimizer, learning_rate(recipe, state.step, per_epoch))
            loss = _step(training, state, batch, where)
            state.step += 1
            now = _clocks(where)
            state.seconds, state.work = (
                state.seconds + now[0] - past[0],
                state.work + now[1] - past[1],
            )
            past = now
            if report is not None:
                report(state.step, steps, loss)
            if time.monotonic() - saved > SAVE_EVERY:
                _save(training, state, path)
                saved = time.monotonic()
        state.losses.append(round(loss, 4))


def _clocks(where: torch.device) -> tuple[float, float]:
    """Return wall-clock seconds, and the seconds of `Trained.work`."""
    wall = time.perf_counter()
    return wall, time.process_time() if where.type == "cpu" else wall


def _step(
    training: SupernetTraining, state: _State, batch: tuple[Tensor, Tensor], where: torch.device
) -> float:
    """Run one optimizer step; return the loss of the largest network."""
    recipe = training.recipe
    seed = seed_of(recipe, state.step)
    torch.manual_seed(seed)  # of dropout and stochastic depth
    if recipe.mixup or recipe.cutmix:
        classes = len(training.data.classes)
        batch = mix(*batch, classes, mixup=recipe.mixup, cutmix=recipe.cutmix, seed=seed)
    first = float("nan")
    losses = training.sandwich.losses(
        state.network.tensors(), batch, recipe, seed=seed, precision=precision(recipe, where)
    )
    for number, loss in enumerate(losses):
        loss.backward()
        if not number:
            first = float(loss.detach())
    if recipe.clip_norm:
        nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip_norm, foreach=True)
    state.optimizer.step()
    state.optimizer.zero_grad()
    if not np.isfinite(first):
        raise ValueError(
            f"supernet: the loss is not a number at step {state.step + 1}; use a lower learning "
            f"rate, e.g. --set lr={recipe.lr / 3:.2g}"
        )
    return first
