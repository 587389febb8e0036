"""timm's way to train, and ours and timm's ready to be compared.

timm's wheel has no training loop; the step here is the sequence of `train_one_epoch` in its
train.py (1.0): autocast around forward and loss, backward, optimizer step, zero_grad, moving
average. Images go through torchvision's transforms one by one, in a plain DataLoader.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from experiments.lib.networks import proxy_network as searched_network
from search_spaces.architecture import Architecture
from search_spaces.network import build
from train.data import Data, Split, Step
from train.data.augment import Augmentation
from train.data.in_memory import MemorySplit
from train.distributed import World, pick_device
from train.export.block_strings import timm_description, timm_network
from train.loop import optimizer_step
from train.recipe import Recipe, efficientnet
from train.state import begin, resolved
from vbs.sockets import short_folder_for_sockets

PARTS = ("data", "forward", "backward", "optimizer", "average")

Batches = Iterator[tuple[Tensor, Tensor]]


def proxy_network(path: str | None, classes: int) -> Architecture:
    """The architecture of a JSON file, or the searched proxy; with so many classes.

    Raises ValueError where the file is no architecture, or timm's builder cannot express it.
    """
    if path is None:
        return dataclasses.replace(searched_network(), classes=classes)
    try:
        architecture = Architecture.from_json(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"network: {path}: {error}") from None
    timm_description(architecture)
    return dataclasses.replace(architecture, classes=classes)


def timm_twin(
    architecture: Architecture, *, name: str = "", dropout: float = 0.0, drop_path: float = 0.0
) -> nn.Module:
    """timm's network of the architecture: by create_model if it has a name there, else rebuilt."""
    if name:
        import timm

        return timm.create_model(
            name, num_classes=architecture.classes, drop_rate=dropout, drop_path_rate=drop_path
        )
    description = timm_description(architecture)
    description["model"] |= {"drop_rate": dropout, "drop_path_rate": drop_path}
    return timm_network(description)


def check_twins(architecture: Architecture, *, name: str = "", side: int = 0) -> dict[str, Any]:
    """Parameters of both networks and the largest difference of their logits with equal weights.

    In training mode, where batch norms use the batch, and then in evaluation mode. ValueError
    where the two are not the same network.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        ours, theirs = build(architecture), timm_twin(architecture, name=name)
        side = side or architecture.resolution
        images = torch.randn(4, architecture.in_channels, side, side)
    counts = [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)]
    if counts[0] != counts[1]:
        raise ValueError(f"timm's network has {counts[1]:,} parameters, ours {counts[0]:,}")
    theirs.load_state_dict(ours.state_dict())
    apart = 0.0
    with torch.no_grad():
        for mode in (True, False):
            logits = [network.train(mode)(images) for network in (ours, theirs)]
            scale_of = float(logits[1].abs().max())
            apart = max(apart, float((logits[0] - logits[1]).abs().max()) / max(scale_of, 1e-6))
    if not apart < 1e-3:
        raise ValueError(f"timm's logits differ from ours by {apart:.2g} of the largest one")
    return {"parameters": counts[0], "logits_apart": apart}


@dataclass
class TimmLoop:
    """A network in training as timm's train.py has it; `forward` calls it, perhaps compiled."""

    network: nn.Module
    forward: Any
    optimizer: torch.optim.Optimizer
    criterion: nn.Module
    average: Any
    device: torch.device
    precision: torch.dtype
    channels_last: bool
    updates: int = 0

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        """One step of `train_one_epoch`; the loss."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        amp = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=amp):
            loss = self.criterion(self.forward(images), targets)
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.network, step=self.updates)
        return loss.detach()


def timm_loop(
    network: nn.Module,
    recipe: Recipe,
    device: torch.device,
    *,
    precision: torch.dtype,
    channels_last: bool = True,
    foreach: bool | None = None,
    compiled: bool = False,
) -> TimmLoop:
    """timm's optimizer, loss and moving average for the numbers of our recipe (rmsprop or sgd)."""
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import ModelEmaV3

    network = network.to(device)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    names = {"rmsprop": "rmsproptf", "sgd": "sgd"}  # timm's sgd is Nesterov's
    if recipe.optimizer not in names:
        raise ValueError(f"optimizer: {recipe.optimizer!r} is not compared; use rmsprop or sgd")
    extra = {"alpha": recipe.rms_decay, "eps": recipe.eps} if recipe.optimizer == "rmsprop" else {}
    optimizer = create_optimizer_v2(
        network,
        opt=names[recipe.optimizer],
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        foreach=foreach,
        **extra,
    )
    average = None
    if recipe.ema_decay:
        average = ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True)
    smoothing = recipe.label_smoothing
    criterion = LabelSmoothingCrossEntropy(smoothing) if smoothing else nn.CrossEntropyLoss()
    network.train()
    forward = torch.compile(network) if compiled else network
    return TimmLoop(
        network, forward, optimizer, criterion, average, device, precision, channels_last
    )


class PerImage(Dataset):
    """Images of a split one by one through a transform, as a folder of pictures would give them."""

    def __init__(self, split: Split, transform: transforms.Compose) -> None:
        self.images = [split.picture(index) for index in range(len(split))]
        self.targets = split.targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.targets[index]


def per_image(split: Split, recipe: Recipe, side: int, *, training: bool) -> PerImage:
    """Reflected padding by an eighth and a crop, flip, normalised; only the last to evaluate."""
    steps: list[Any] = [transforms.ToPILImage()]
    if training:
        steps += [
            transforms.RandomCrop(side, padding=side // 8, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
        ]
    steps += [transforms.ToTensor(), transforms.Normalize(recipe.mean, recipe.std)]
    return PerImage(split, transforms.Compose(steps))


def training_loader(
    images: PerImage, batch: int, *, seed: int, workers: int = 0, steps: int = 0
) -> DataLoader:
    """Shuffled whole batches; `steps` of them an epoch, or as many as there are images for."""
    if workers:
        short_folder_for_sockets()
    generator = torch.Generator().manual_seed(seed)
    count = steps * batch or None
    sampler = RandomSampler(images, num_samples=count, generator=generator)
    return DataLoader(
        images,
        batch,
        sampler=sampler,
        num_workers=workers,
        drop_last=True,
        generator=generator,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def timm_accuracy(network: nn.Module, images: PerImage, device: torch.device) -> float:
    """Top-1 in percent by timm's `accuracy`, averaged over the images."""
    from timm.utils import AverageMeter, accuracy

    network.eval()
    meter = AverageMeter()
    with torch.inference_mode():
        for batch, targets in DataLoader(images, 256):
            logits = network(batch.to(device).contiguous(memory_format=torch.channels_last))
            (top1,) = accuracy(logits, targets.to(device), topk=(1,))
            meter.update(float(top1), len(batch))
    return float(meter.avg)


@dataclass(frozen=True)
class Setting:
    """One way for a side to train; `side` is "ours" or "timm"."""

    side: str
    channels_last: bool = True
    precision: str = "float32"
    foreach: bool = False
    compile: bool = False

    @property
    def label(self) -> str:
        """In words, for tables."""
        words = ["channels_last" if self.channels_last else "default", self.precision]
        words += ["foreach"] * self.foreach + ["compile"] * self.compile
        return " ".join(words)


@dataclass(frozen=True)
class Case:
    """What is trained: a network at a size of images and batch, and `steps` in a round."""

    name: str
    architecture: Architecture
    timm_name: str
    batch: int
    steps: int
    ema: bool
    device: str
    workers: int = 0

    def recipe(self, setting: Setting) -> Recipe:
        """EfficientNet's, at this size, with the crop of small images on both sides."""
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
        """Random uint8 images and classes in memory, eight batches of them at most 1,024 images."""
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

    step   one optimizer step on the next of some batches.
    fresh  an iterator of so many augmented batches, as the side's own data loading gives them.
    parts  seconds by part since `watch` was called.
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
            loss = optimizer_step(run, self._forward(forward), batches, 0.0)
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
        loop = timm_loop(
            network,
            recipe,
            self.device,
            precision=getattr(torch, setting.precision),
            channels_last=setting.channels_last,
            foreach=setting.foreach or None,
            compiled=setting.compile,
        )
        forward = loop.forward

        def step(batches: Batches) -> Tensor:
            images, targets = next(batches)
            loop.forward = self._forward(forward)
            return loop.step(images, targets)

        images = per_image(data.train, recipe, case.architecture.resolution, training=True)
        loaders: dict[int, DataLoader] = {}

        def fresh(steps: int) -> Batches:
            if steps not in loaders:  # kept, with its workers
                loaders[steps] = training_loader(
                    images, recipe.batch, seed=steps, workers=case.workers, steps=steps
                )
            for some, targets in loaders[steps]:
                yield some.to(self.device, non_blocking=True), targets.to(self.device)

        self.step, self.fresh = step, fresh
        self.optimizer, self.average = loop.optimizer, loop.average

    def ready(self) -> Batches:
        """Two batches for ever, in the memory format of the network."""
        kind = torch.channels_last if self.setting.channels_last else torch.contiguous_format
        some = [(x.contiguous(memory_format=kind), y) for x, y in self.fresh(2)]
        return itertools.cycle(some)

    def seconds(self, batches: Batches, steps: int) -> float:
        """Time of so many steps, all the device's work included."""
        start = self.now()
        for _ in range(steps):
            self.step(batches)
        return self.now() - start

    def now(self) -> float:
        """Seconds, once the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def watch(self) -> None:
        """From now on measure the parts of each step."""
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
        """Milliseconds a step by part, data first."""
        self.watch()
        batches, total = self.fresh(steps + 1), 0.0
        take = self._timed("data", lambda: next(batches))
        for index in range(steps + 1):
            if index == 1:  # the first one opens the loader
                self.parts, total = dict.fromkeys(PARTS, 0.0), 0.0
            start = self.now()
            self.step(iter([take()]))
            total += self.now() - start
        self.parts["backward"] = total - sum(self.parts.values())
        return {part: round(1000 * value / steps, 3) for part, value in self.parts.items()}
