"""timm's way to train: its networks, its optimizers and the step of its train.py, to compare with.

timm's wheel has no training loop; the step here is the sequence of `train_one_epoch` in its
train.py (1.0): autocast around forward and loss, backward, optimizer step, zero_grad, moving
average. Images go through torchvision's transforms one by one, in a plain DataLoader.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.network import build
from search_spaces.scale import for_small_images, scale
from train.block_strings import timm_description, timm_network
from train.data import Split
from train.recipe import Recipe

PROXY_WIDTH, PROXY_SIDE = 0.25, 32


def proxy_network(path: str | None, classes: int) -> Architecture:
    """The architecture of a JSON file, or a quarter of B0's width for 32 px; with so many classes.

    Raises ValueError where the file is no architecture, or timm's builder cannot express it.
    """
    if path is None:
        small = for_small_images(scale(zoo("efficientnet_b0"), width=PROXY_WIDTH))
        return dataclasses.replace(small, resolution=PROXY_SIDE, classes=classes)
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
    """A network in training as timm's train.py has it."""

    network: nn.Module
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
            loss = self.criterion(self.network(images), targets)
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.average_of, step=self.updates)
        return loss.detach()

    @property
    def average_of(self) -> nn.Module:
        """The network itself, where it is compiled."""
        return getattr(self.network, "_orig_mod", self.network)


def timm_loop(
    network: nn.Module, recipe: Recipe, device: torch.device, *, precision: torch.dtype,
    channels_last: bool = True, foreach: bool | None = None, compiled: bool = False,
) -> TimmLoop:  # fmt: skip
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
        network, opt=names[recipe.optimizer], lr=recipe.lr, weight_decay=recipe.weight_decay,
        momentum=recipe.momentum, foreach=foreach, **extra,
    )  # fmt: skip
    average = None
    if recipe.ema_decay:
        average = ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True)
    smoothing = recipe.label_smoothing
    criterion = LabelSmoothingCrossEntropy(smoothing) if smoothing else nn.CrossEntropyLoss()
    network.train()
    forward: Any = torch.compile(network) if compiled else network
    return TimmLoop(forward, optimizer, criterion, average, device, precision, channels_last)


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
    generator = torch.Generator().manual_seed(seed)
    count = steps * batch or None
    sampler = RandomSampler(images, num_samples=count, generator=generator)
    return DataLoader(
        images, batch, sampler=sampler, num_workers=workers, drop_last=True, generator=generator,
        persistent_workers=workers > 0, pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def timm_accuracy(network: nn.Module, images: PerImage, device: torch.device) -> float:
    """Top-1 in percent by timm's `accuracy`, averaged over the images."""
    from timm.utils import AverageMeter, accuracy

    network.eval()
    meter = AverageMeter()
    with torch.inference_mode():
        for batch, targets in DataLoader(images, 256):
            logits = network(
                batch.to(device).contiguous(memory_format=torch.channels_last)
            )
            (top1,) = accuracy(logits, targets.to(device), topk=(1,))
            meter.update(float(top1), len(batch))
    return float(meter.avg)
