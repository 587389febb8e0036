"""Compare an exported network with the one that was trained, on random and on real images."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.network import Network
from train.checkpoint import Weights
from train.data import Step, load
from train.data.augment import Draws, Preparation, finish, frame
from train.data.decode import Unreadable, decode
from train.data.formats import EXTENSIONS
from train.data.reading import Reading
from train.export.formats import Function, image_shape
from train.record import read_run
from vbs.command import Failure

TOLERANCE = 1e-4
BATCHES = (1, 3)  # neither is the 2 that the exporters see
COUNT = 4  # images of each kind, all batches together


class Mismatch(Failure):
    """What was written cannot be used, or is not the network."""


@dataclass(frozen=True)
class Compared:
    """Largest absolute difference of logits, largest absolute logit, and on which images."""

    difference: float
    scale: float
    equal: bool  # whether rounding explains the difference, in every batch
    images: str = ""


@torch.no_grad()
def compare(network: Network, other: Function, pictures: Tensor) -> Compared:
    """Both on the pictures [COUNT, ...] and on noise, in batches of all of `BATCHES`."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(pictures.shape, generator=generator)
    differences, scales = [], []
    for images in (*noise.split(BATCHES), *pictures.split(BATCHES)):
        expected, answer = network(images), other(images)
        if not expected.isfinite().all():
            raise ValueError("the network's own logits are not finite; there is nothing to compare")
        if answer.shape != expected.shape:
            raise Mismatch(f"the export gives {list(answer.shape)}, not {list(expected.shape)}")
        differences.append(float((answer - expected).abs().max()))
        scales.append(float(expected.abs().max()))
    pairs = zip(differences, scales, strict=True)
    equal = all(off <= TOLERANCE * max(1.0, scale) for off, scale in pairs)  # not where NaN
    return Compared(float(np.max(differences)), max(scales), equal)


def pictures_for(weights: Weights, folder: Path, given: Path | None) -> tuple[Tensor, str]:
    """COUNT images [COUNT, c, side, side] prepared for the network, and what they are."""
    if given is not None:
        return _images_of(weights, given), f"images of {given}"
    try:
        return _test_images(weights, folder)
    except (ImportError, KeyError, TypeError, OSError, ValueError):
        pass  # no matter why: these are to compare with, not to judge by
    return _smooth_images(weights), "smooth random pictures (no images at hand; see --images)"


def _images_of(weights: Weights, folder: Path) -> Tensor:
    """The first images in a folder, again and again if they are few; ValueError without any."""

    channels = weights.architecture.in_channels
    if channels not in (1, 3):
        raise ValueError(f"--images: the network takes {channels} channels, no pictures")
    if not folder.is_dir():
        raise ValueError(f"--images: {folder} is no folder")
    how = Preparation(**_prepared(weights))
    draws, found = Draws(0, np.zeros(1, np.int64)), []
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    for path in (path for path in files if path.suffix.lower() in EXTENSIONS):
        try:
            pixels = decode(path.read_bytes(), channels)[None]
        except Unreadable as error:
            raise ValueError(f"--images: {path}: {error}") from None
        found.append(finish(frame(pixels, how, draws), how, draws).contiguous())
        if len(found) == COUNT:
            break
    if not found:
        raise ValueError(f"--images: no images in {folder}")
    return torch.cat(list(itertools.islice(itertools.cycle(found), COUNT)))


def _test_images(weights: Weights, folder: Path) -> tuple[Tensor, str]:
    """Test images of the data set that run.json names; any of five errors where there are none."""
    run = read_run(folder)
    data = load(
        run.data,
        minival=0.0,
        seed=run.training["recipe"]["seed"],
        reading=Reading(channels=weights.architecture.in_channels, download=False),
    )
    split = data.test or data.train
    how = Preparation(**_prepared(weights))
    step = Step(np.arange(COUNT), slice(0, COUNT), 0)
    (images, _), *_ = split.batches([step], how)
    return images.contiguous(), f"images of {data.name}"


def _prepared(weights: Weights) -> dict[str, Any]:
    return {
        "size": weights.resolution,
        "crop_share": weights.crop_share,
        "mean": weights.mean,
        "std": weights.std,
    }


def _smooth_images(weights: Weights) -> Tensor:
    """Pictures with the 1/f spectrum of photographs: noise of all scales, coarser is stronger."""
    generator = torch.Generator().manual_seed(1)
    count, channels, side, _ = image_shape(weights, COUNT)
    total = torch.zeros(count, channels, side, side)
    cells = 2
    while cells <= side:
        coarse = torch.randn(count, channels, cells, cells, generator=generator) / cells
        total += F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
        cells *= 2
    return total / total.std() if side > 1 else total
