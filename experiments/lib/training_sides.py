"""Two trainers of one network, ours and timm's, ready to be timed."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.lib.timm_data import per_image, training_loader
from experiments.lib.timm_loop import Setting, timm_loop
from experiments.lib.timm_networks import timm_twin
from search_spaces.architecture import Architecture
from train.data import Data, Step
from train.data.augment import Augmentation
from train.data.in_memory import MemorySplit
from train.distributed import World, pick_device
from train.optimizer_step import optimizer_step
from train.progressive import phase
from train.recipe import Recipe, efficientnet
from train.state import begin, resolved

PARTS = ("data", "forward", "backward", "optimizer", "average")

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """A network to train at a size of images and batch, with `steps` in each round."""

    name: str
    architecture: Architecture
    timm_name: str
    batch: int
    steps: int
    ema: bool
    device: str
    workers: int = 0

    def recipe(self, setting: Setting) -> Recipe:
        """Return EfficientNet's recipe at this size, with the crop for small images."""
        return dataclasses.replace(
            efficientnet(),
            batch=self.batch,
            policy="none",
            crop="pad",
            compile=setting.compile,
            precision=setting.precision,
            ema_decay=0.9999 if self.ema else 0.0,
        )

    def data(self) -> Data:
        """Return random uint8 images and classes in memory: eight batches, at most 1,024 images."""
        count, side = max(self.batch, min(8 * self.batch, 1024)), self.architecture.resolution
        generator = torch.Generator().manual_seed(0)
        shape = (count, self.architecture.in_channels, side, side)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        classes = self.architecture.classes
        targets = torch.randint(classes, (count,), generator=generator)
        names = tuple(str(index) for index in range(classes))
        return Data("random", names, MemorySplit(images, targets), None, None, {}, ())


class Side:
    """One side in one setting, ready to train.

    step   function that takes one optimizer step on the next batch of an iterator.
    fresh  function that returns an iterator of some augmented batches, by the side's own loading.
    parts  seconds of each part since `watch` was called.
    """

    step: Callable[[Batches], Tensor]
    fresh: Callable[[int], Batches]

    def __init__(self, case: Case, setting: Setting) -> None:
        self.case, self.setting = case, setting
        self.device = pick_device(case.device)
        self.parts = dict.fromkeys(PARTS, 0.0)
        self._forward = self._update = lambda call: call
        make = self._ours if setting.side == "ours" else self._timm
        make(case.recipe(setting), case.data())

    def _ours(self, recipe: Recipe, data: Data) -> None:
        architecture = self.case.architecture
        world = World(0, 1, self.device)
        run = begin(architecture, data, resolved(recipe, architecture), world, 0, None)
        run.network.train()
        if not self.setting.channels_last:
            run.network.to(memory_format=torch.contiguous_format)
        forward: Any = torch.compile(run.network) if recipe.compile else run.network
        augmentation = Augmentation(size=architecture.resolution, crop="pad")

        def step(batches: Batches) -> Tensor:
            loss = optimizer_step(run, self._forward(forward), batches, phase(run.recipe, 0))
            run.step += 1
            return loss

        def fresh(steps: int) -> Batches:
            rng = np.random.default_rng(run.step)
            rows = [rng.permutation(len(data.train))[: recipe.batch] for _ in range(steps)]
            wanted = [Step(row, slice(0, recipe.batch), seed) for seed, row in enumerate(rows)]
            return data.train.batches(wanted, augmentation, device=self.device)

        self.step, self.fresh = step, fresh
        self.optimizer, self.average = run.optimizer, run.average

    def _timm(self, recipe: Recipe, data: Data) -> None:
        case, setting = self.case, self.setting
        torch.manual_seed(recipe.seed)
        network = timm_twin(
            case.architecture,
            name=case.timm_name,
            dropout=recipe.dropout,
            drop_path=recipe.drop_path,
        )
        loop = timm_loop(network, recipe, self.device, setting)
        forward = loop.forward

        def step(batches: Batches) -> Tensor:
            images, targets = next(batches)
            loop.forward = self._forward(forward)
            return loop.step(images, targets)

        images = per_image(data.train, recipe, case.architecture.resolution, training=True)
        loaders: dict[int, DataLoader] = {}

        def fresh(steps: int) -> Batches:
            if steps not in loaders:  # a loader keeps its workers for all epochs
                loaders[steps] = training_loader(
                    images, recipe.batch, seed=steps, workers=case.workers, steps=steps
                )
            for some, targets in loaders[steps]:
                yield some.to(self.device, non_blocking=True), targets.to(self.device)

        self.step, self.fresh = step, fresh
        self.optimizer, self.average = loop.optimizer, loop.average

    def ready(self) -> Batches:
        """Yield two batches in turn without end, in the memory format of the network."""
        kind = torch.channels_last if self.setting.channels_last else torch.contiguous_format
        some = [(x.contiguous(memory_format=kind), y) for x, y in self.fresh(2)]
        return itertools.cycle(some)

    def seconds(self, batches: Batches, steps: int) -> float:
        """Return the time of some steps, including all work of the device."""
        start = self.now()
        for _ in range(steps):
            self.step(batches)
        return self.now() - start

    def now(self) -> float:
        """Return the time in seconds after the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def watch(self) -> None:
        """Start to measure the parts of each step."""
        self._forward = lambda call: self._timed("forward", call)
        for name in ("step", "zero_grad"):
            setattr(self.optimizer, name, self._timed("optimizer", getattr(self.optimizer, name)))
        if self.average is not None:
            self.average.update = self._timed("average", self.average.update)

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = self.now()
            result = call(*arguments, **named)
            self.parts[part] += self.now() - start
            return result

        return timed

    def breakdown(self, steps: int) -> dict[str, float]:
        """Return the milliseconds of each part of a step, data first."""
        self.watch()
        batches, total = self.fresh(steps + 1), 0.0
        take = self._timed("data", lambda: next(batches))
        for index in range(steps + 1):
            if index == 1:  # the first step starts the loader
                self.parts, total = dict.fromkeys(PARTS, 0.0), 0.0
            start = self.now()
            self.step(iter([take()]))
            total += self.now() - start
        self.parts["backward"] = total - sum(self.parts.values())
        return {part: round(1000 * value / steps, 3) for part, value in self.parts.items()}
