"""Images that a network learns within seconds, and the networks that the steps train."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional as F

from experiments.lib.gpu_check.step import Conditions
from experiments.lib.networks import proxy_network
from search_spaces.architecture import Architecture, Stage
from train.data import Data
from train.data.in_memory import MemorySplit

CLASSES = 10
NOISE = 60.0  # standard deviation, in units of 0 to 255
TINY = Architecture(
    stem=8,
    head=16,
    resolution=16,
    classes=CLASSES,
    stages=(Stage("mbconv", 1, 3, 1, 2, 8), Stage("fused", 1, 3, 2, 2, 8, se=0.0)),
)


def network_for(here: Conditions) -> Architecture:
    """Return the proxy network at 32 px; a tiny one in a dry run."""
    return here.pick(dataclasses.replace(proxy_network(), classes=CLASSES), TINY)


def learnable(train: int, held: int, *, side: int) -> Data:
    """Return `train` images to train on and `held` held-out images, all [3, side, side].

    The images of a class are a pattern of 4 x 4 colours with noise.
    """
    return Data(
        "patterns",
        tuple(map(str, range(CLASSES))),
        images(train, side=side, seed=1),
        images(held, side=side, seed=2) if held else None,
        None,
        {"source": "patterns"},
        (),
    )


def images(count: int, *, side: int, seed: int) -> MemorySplit:
    """Return images of the patterns; the patterns are the same for every seed."""
    patterns = 255 * torch.rand(CLASSES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(patterns, size=(side, side), mode="bilinear")
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(CLASSES, (count,), generator=generator)
    noise = torch.randn(count, 3, side, side, generator=generator)
    pixels = (large[targets] + NOISE * noise).round().clamp(0, 255)
    return MemorySplit(pixels.to(torch.uint8), targets)
