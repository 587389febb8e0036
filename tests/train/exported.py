"""Test helper: a small trained network with its images, for tests of the accuracy of exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from search_spaces.architecture import Architecture, Stage
from search_spaces.network import Network, build
from tests.train.images import smooth
from train.checkpoint import Weights, write_weights
from train.data import load
from train.export.images import prepared
from train.preprocessing import Preprocessing

CLASSES = ("dark", "light", "red")
COLOURS = ((0, 0, 0), (180, 180, 180), (180, 0, 0))  # added to dimmed photographs
SMALL = Architecture(
    stem=8,
    stages=(
        Stage("mbconv", 1, 3, 1, 1, 8, 0.0),
        Stage("mbconv", 2, 3, 2, 2, 16, 0.25),
    ),
    head=24,
    resolution=32,
    classes=len(CLASSES),
    activation="relu",
)


def coloured(seed: int, label: str) -> Image.Image:
    """Return a photograph of a class, with an odd size."""
    pixels = 0.25 * smooth(seed, 40 + seed % 7, 50 + seed % 5) + COLOURS[CLASSES.index(label)]
    return Image.fromarray(pixels.astype(np.uint8))


def photographs(folder: Path, *, train: int = 16, test: int = 12) -> str:
    """Write photographs of odd sizes in three classes; return the value of --data for them."""
    number = 0
    for split, count in (("train", train), ("test", test)):
        for label in CLASSES:
            place = folder / split / label
            place.mkdir(parents=True)
            for index in range(count):
                number += 1
                coloured(number, label).save(place / f"{index}.png")
    return f"imagefolder:{folder}"


def trained(
    folder: Path, data: str, architecture: Architecture = SMALL, *, outlier: bool = False
) -> Path:
    """Return the folder of a run: random features and a classifier that is fitted to the images.

    outlier  whether one channel inside blocks.1.0 has values of 3,000 that nothing uses: the scale
             of 8 bits that all channels share then leaves no levels for the others.
    """
    torch.manual_seed(0)
    network = build(architecture).eval()
    if outlier:
        _make_outlier(network)
    how = Preprocessing(resolution=architecture.resolution, crop_share=0.9)
    _fit(network, data, how)
    weights = Weights(
        network.state_dict(),
        architecture,
        CLASSES,
        how.mean,
        how.std,
        how.resolution,
        how.crop_share,
        {"data": data, "recipe": {"name": "proxy", "seed": 0, "minival": 0.25, "epochs": 3}},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "best.safetensors", weights)
    return folder


@torch.no_grad()
def _make_outlier(network: Network) -> None:
    block = network.blocks[1][0]
    block.bn1.bias[0] = 3000.0
    block.conv_dw.weight[0] = 0.0


@torch.no_grad()
def _fit(network: Network, data: str, how: Preprocessing) -> None:
    """Fit the classifier by ridge regression."""
    split = load(data, minival=0.0).train
    images, targets = (torch.cat(parts) for parts in zip(*prepared(split, how), strict=True))
    features: list[torch.Tensor] = []
    hook = network.classifier.register_forward_pre_hook(
        lambda _, given: features.append(given[0].clone())
    )
    network(images)
    hook.remove()
    x = torch.cat([features[0], torch.ones(len(images), 1)], 1).double()
    y = 5 * torch.nn.functional.one_hot(targets, len(CLASSES)).double()
    eye = 1e-2 * (x**2).sum() / x.shape[1] * torch.eye(x.shape[1], dtype=torch.float64)
    fitted = torch.linalg.solve(x.T @ x + eye, x.T @ y).float()
    network.classifier.weight.copy_(fitted[:-1].T)
    network.classifier.bias.copy_(fitted[-1])
