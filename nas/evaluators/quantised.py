"""Accuracy of networks in int8, the objective of searches with `--quantised int8`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.evaluators.inherited_scores import accuracy
from train.data import Split
from train.data.augment import Preparation
from train.distributed import World
from train.evaluate import evaluate
from train.export.int8_network import NEEDS, int8_function
from train.export.runtimes import Function
from train.inherit.importance import Batch
from train.inherit.inheritance import some_batches
from train.int8_simulation import simulated_int8

INT8 = "int8"  # allowed value of --quantised
CALIBRATION, BATCH = 4, 32  # number and size of the calibration batches for onnxruntime
SIMULATED = 2  # number of calibration batches for simulated int8
CPU = torch.device("cpu")


def check_installed() -> None:
    """Raise ValueError unless the packages that quantise and run networks are installed."""
    for package in NEEDS:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"int8 needs {package}, which is not installed; "
                "pip install 'vision-baseline-search[onnx]'"
            )


@dataclass(frozen=True)
class Quantiser:
    """Quantiser of networks, which scores them in onnxruntime.

    train        images for calibration.
    preparation  preparation of the images for a network.
    """

    train: Split
    preparation: Preparation

    def top1(self, network: nn.Module, *splits: Split) -> list[float]:
        """Return the top-1 in percent of a network in int8 on each split.

        The network is set to evaluation mode and moved to the CPU.
        """
        calibration = some_batches(
            self.train, self.preparation, device=CPU, count=CALIBRATION, batch=BATCH
        )
        function = int8_function(network.cpu().eval(), [images for images, _ in calibration])
        exported, here = _Exported(function), World(0, 1, CPU)
        return [evaluate(exported, each, self.preparation, world=here).top1 for each in splits]


class _Exported(nn.Module):
    """A module that calls a function of images."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images.contiguous())


def on_cpu(batches: Sequence[Batch]) -> list[Batch]:
    """Return the batches on the CPU."""
    return [(images.cpu(), targets.cpu()) for images, targets in batches]


def simulated_top1(network: nn.Module, train: Sequence[Batch], held_out: Sequence[Batch]) -> float:
    """Return the top-1 in percent of a network in simulated int8; takes about a second.

    train  batches of training images for the ranges of activations.
    """
    return accuracy(simulated_int8(network, [images for images, _ in train[:SIMULATED]]), held_out)
