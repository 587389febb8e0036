"""Comparison of an exported network with the trained one, on random and on real images."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.network import Network
from train.data.decode import Unreadable, decode
from train.data.formats import EXTENSIONS
from train.export.images import decoded
from train.export.request import Request
from train.export.runtimes import Function, onnx_function
from train.preprocessing import Preprocessing, framed, normalised
from vbs.command import Failure
from vbs.folder import folder_problem

TOLERANCE = 1e-4
COARSE = 5e-2  # tolerance of float16, whose rounding is 5e-4 of each number
LEVELS = 2  # largest difference of a pixel, of 255 levels, that rounding may cause
BATCHES = (1, 3)  # sizes other than 2, which the exporters trace
COUNT = 4  # images of each kind, in all batches together
SIDES = ((37, 53), (61, 40), (20, 180), (97, 97))  # decoded images, all unlike network inputs


class Mismatch(Failure):
    """Raised if an export cannot be used or does not compute the network."""


@dataclass(frozen=True)
class Compared:
    """Largest absolute difference of outputs, largest absolute output, and the images used."""

    difference: float
    scale: float
    equal: bool  # whether rounding explains the difference, in every batch
    images: str = ""


@torch.no_grad()
def compare(
    network: Network,
    other: Function,
    pictures: Tensor,
    *,
    tolerance: float = TOLERANCE,
    probabilities: bool = False,
) -> Compared:
    """Compare on the pictures [COUNT, ...] and on noise, in batches of all sizes in `BATCHES`.

    tolerance      allowed difference, times the largest absolute output of a batch.
    probabilities  whether `other` returns probabilities instead of logits.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(pictures.shape, generator=generator)
    pairs = []
    for images in (*noise.split(BATCHES), *pictures.split(BATCHES)):
        pairs.append((_expected(network(images), probabilities), other(images)))
    return _compared(pairs, tolerance)


@torch.no_grad()
def compare_decoded(request: Request, other: Function, pictures: list[Tensor]) -> Compared:
    """Compare an export that takes decoded images, uint8 [1, height, width, c] each.

    The preprocessing in the file must equal this project's up to the rounding of pixels, and the
    outputs for equally prepared images must be equal within the tolerance.
    """
    from train.export.onnx_graph import preprocessing_model

    how, config = request.preprocessing, request.config
    prepare = onnx_function(preprocessing_model(how).SerializeToString())
    level = torch.tensor(how.channel_std).mul(255).reciprocal()[:, None, None]
    pairs = []
    for pixels in pictures:
        images = prepare(pixels)
        off = float(((images - as_batch([pixels], how)).abs() / level).max())
        if not off <= 1.01 * LEVELS:
            raise Mismatch(f"the preprocessing differs by {off:.1f} levels of 255; it was removed")
        pairs.append((_expected(request.network(images), config.softmax), other(pixels)))
    return _compared(pairs, TOLERANCE if config.precision == "float32" else COARSE)


def _expected(logits: Tensor, probabilities: bool) -> Tensor:
    if not logits.isfinite().all():
        raise ValueError("the network's own logits are not finite; there is nothing to compare")
    return logits.softmax(1) if probabilities else logits


def _compared(pairs: list[tuple[Tensor, Tensor]], tolerance: float) -> Compared:
    differences, scales = [], []
    for expected, answer in pairs:
        if answer.shape != expected.shape:
            raise Mismatch(f"the export gives {list(answer.shape)}, not {list(expected.shape)}")
        differences.append(float((answer - expected).abs().max()))
        scales.append(float(expected.abs().max()))
    each = zip(differences, scales, strict=True)
    equal = all(off <= tolerance * max(1.0, scale) for off, scale in each)  # False for NaN
    return Compared(float(np.max(differences)), max(scales), equal)


def pictures_for(request: Request) -> tuple[list[Tensor], str]:
    """Return COUNT decoded images, uint8 [1, height, width, c] each, and a description."""
    how, given = request.preprocessing, request.config.images
    if given is not None:
        return _images_of(how, Path(given)), f"images of {given}"
    if request.images is not None:
        few = request.images.test.select(np.arange(COUNT) % len(request.images.test))
        return list(decoded(few, how)), f"images of {request.images.name}"
    return _smooth_images(how), "smooth random images (no real ones available; see --images)"


def as_batch(pictures: list[Tensor], how: Preprocessing) -> Tensor:
    """Return decoded images as the network's input, float32 [n, c, side, side]."""
    ready = [normalised(framed(each.permute(0, 3, 1, 2), how), how) for each in pictures]
    return torch.cat(ready).contiguous()


def _images_of(how: Preprocessing, folder: Path) -> list[Tensor]:
    """Return the first images in a folder, repeated if too few; raise ValueError if none."""
    if not folder.is_dir():
        raise ValueError(f"--images: {folder} {folder_problem(folder)}")
    found: list[Tensor] = []
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    for path in (path for path in files if path.suffix.lower() in EXTENSIONS):
        try:
            found.append(decode(path.read_bytes(), how.channels).permute(1, 2, 0)[None])
        except Unreadable as error:
            raise ValueError(f"--images: {path}: {error}") from None
        if len(found) == COUNT:
            break
    if not found:
        raise ValueError(f"--images: no images in {folder}")
    return list(itertools.islice(itertools.cycle(found), COUNT))


def _smooth_images(how: Preprocessing) -> list[Tensor]:
    """Return images with the 1/f spectrum of photographs: a sum of noise, stronger if coarser."""
    generator = torch.Generator().manual_seed(1)
    pictures = []
    for height, width in SIDES:
        total = torch.zeros(1, how.channels, height, width)
        cells = 2
        while cells <= min(height, width):
            coarse = torch.randn(1, how.channels, cells, cells, generator=generator) / cells
            total += F.interpolate(coarse, size=(height, width), mode="bicubic")
            cells *= 2
        levels = (128 + 50 * total / total.std()).clamp(0, 255).to(torch.uint8)
        pictures.append(levels.permute(0, 2, 3, 1).contiguous())
    return pictures
