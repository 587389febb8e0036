"""The training loop of timm.

timm's wheel has no training loop; the step here is the sequence of `train_one_epoch` in timm's
train.py (1.0): autocast around forward and loss, backward, optimizer step, zero_grad, moving
average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from train.recipe import Recipe


@dataclass(frozen=True)
class Setting:
    """A setting in which a side trains; `side` is "ours" or "timm"."""

    side: str
    channels_last: bool = True
    precision: str = "float32"
    foreach: bool = False
    compile: bool = False

    @property
    def label(self) -> str:
        """The setting in words, for tables."""
        words = ["channels_last" if self.channels_last else "default", self.precision]
        words += ["foreach"] * self.foreach + ["compile"] * self.compile
        return " ".join(words)


TIMM = Setting("timm")


@dataclass
class TimmLoop:
    """A network in training as in timm's train.py; `forward` calls it, perhaps compiled."""

    network: nn.Module
    forward: Any
    optimizer: torch.optim.Optimizer
    criterion: nn.Module
    average: Any
    device: torch.device
    setting: Setting
    updates: int = 0

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        """Take one step of `train_one_epoch`; return the loss."""
        if self.setting.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        precision = getattr(torch, self.setting.precision)
        amp = precision != torch.float32
        with torch.autocast(self.device.type, precision, enabled=amp):
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
    setting: Setting = TIMM,
) -> TimmLoop:
    """Return timm's optimizer, loss and moving average for a recipe (rmsprop or sgd)."""
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import ModelEmaV3

    network = network.to(device)
    if setting.channels_last:
        network = network.to(memory_format=torch.channels_last)
    names = {"rmsprop": "rmsproptf", "sgd": "sgd"}  # timm's sgd uses Nesterov momentum
    if recipe.optimizer not in names:
        raise ValueError(f"optimizer: {recipe.optimizer!r} is not allowed; use rmsprop or sgd")
    extra = {"alpha": recipe.rms_decay, "eps": recipe.eps} if recipe.optimizer == "rmsprop" else {}
    optimizer = create_optimizer_v2(
        network,
        opt=names[recipe.optimizer],
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        foreach=setting.foreach or None,
        **extra,
    )
    average = None
    if recipe.ema_decay:
        average = ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True)
    smoothing = recipe.label_smoothing
    criterion = LabelSmoothingCrossEntropy(smoothing) if smoothing else nn.CrossEntropyLoss()
    network.train()
    forward = torch.compile(network) if setting.compile else network
    return TimmLoop(network, forward, optimizer, criterion, average, device, setting)
