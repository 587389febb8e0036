"""Augmentation and preparation of images: crop, flip, policy, erasing and mixing.

The transforms are torchvision's (v2). This module decides when each is applied and with which
random numbers. The numbers of an image depend only on the seed of its step and on its position in
the step, so that a step has the same images in one process, in several, in parts, and after a
restart.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from train.data.transfer import constant, on_device
from vbs.text import quoted

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CROPS = ("resized", "pad", "none")
POLICIES = ("none", "randaugment", "autoaugment", "autoaugment-cifar10")

# each kind of random number has its own stream, so that the others do not change if one is off
_FRAME, _CROP, _POLICY, _ERASE = range(4)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of training images.

    size       side in pixels of the network's square input.
    crop       "resized": a random share of the area in a random aspect ratio, resized.
               "pad": padded by an eighth of each side (reflected), cropped to the original size,
               resized.
               "none": resized. "pad" and "none" keep the aspect ratio and cut off the ends of the
               longer side, as in `Preparation`.
    crop_area  smallest share of the area that "resized" keeps, in (0, 1].
    flip       whether images are mirrored left-right: each with probability one half, or those
               that `Draws.mirrored` selects.
    policy     "randaugment", "autoaugment" (its ImageNet policy), "autoaugment-cifar10" or "none".
    magnitude  of RandAugment, 0 to 30, fractions included, on the scale of the papers, which
               TensorFlow's code divides by 10: 10 shears by 0.3 and rotates by 30 degrees, and 25,
               as in EfficientNetV2, shears by 0.75 and rotates by 75 degrees. (torchvision divides
               by 30, so its magnitude 9 equals 3 here; timm divides by 10 and clamps at 10 without
               mmax.) Above 10, shear, rotation and the colour operations still become stronger
               (colour factors down to 0.1, as in timm); translation (0.45 of the side), posterize
               (4 bits) and solarize (all) do not, because more would erase the image.
    layers     number of operations that RandAugment applies one after another.
    erasing    probability that a random rectangle is filled with the mean colour.
    group      number of consecutive images of a step that share one draw of policy and erasing; 8
               keeps a GPU busy. Crop and flip are drawn for each image.
    mean, std  of the channels, for images in [0, 1]; grey images use their averages.
    """

    size: int
    crop: str = "resized"
    crop_area: float = 0.08
    flip: bool = True
    policy: str = "none"
    magnitude: float = 9.0
    layers: int = 2
    erasing: float = 0.0
    group: int = 1
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("layers", 0), ("group", 1)):
            _check_integer(name, getattr(self, name), least)
        _check_member("crop", self.crop, CROPS)
        _check_member("policy", self.policy, POLICIES)
        _check_number("crop_area", self.crop_area, 0, 1, above=True)
        _check_number("magnitude", self.magnitude, 0, 30)
        _check_number("erasing", self.erasing, 0, 1)
        if not isinstance(self.flip, bool):
            raise ValueError(f"flip: {quoted(self.flip)} is not allowed; use True or False")
        _check_colours(self)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Preparation of images for evaluation: resized, then cropped at the centre.

    size        side in pixels of the network's square input.
    crop_share  share of the shorter side that the crop keeps, in (0, 1]; 0.875 is common.
    mean, std   of the channels, for images in [0, 1]; grey images use their averages.
    """

    size: int
    crop_share: float = 1.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        _check_integer("size", self.size, 1)
        _check_number("crop_share", self.crop_share, 0, 1, above=True)
        _check_colours(self)


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"{name}: {quoted(value)} is not allowed; use an integer of at least {least}"
        )


def _check_member(name: str, value: Any, members: tuple[str, ...]) -> None:
    if value not in members:
        raise ValueError(f"{name}: {quoted(value)} is unknown; use one of {', '.join(members)}")


def _check_number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or (above and value == low):
        least = f"above {low}" if above else f"from {low}"
        raise ValueError(f"{name}: {quoted(value)} is not allowed; use a number {least} to {high}")


def _check_colours(how: Augmentation | Preparation) -> None:
    for name, least in (("mean", -math.inf), ("std", 0.0)):
        value = getattr(how, name)
        numbers = isinstance(value, tuple) and all(isinstance(part, int | float) for part in value)
        if not numbers or len(value) != 3 or not all(least < part < math.inf for part in value):
            right = "three finite numbers" + (" above 0" if name == "std" else "")
            raise ValueError(f"{name}: {quoted(value)} is not allowed; use a tuple of {right}")


class Draws:
    """The random numbers of some images of a step, by their positions [n] in the whole step.

    mirrored  whether the image of each position of the step is mirrored, bool [step]; None: drawn.

    The numbers of a position do not depend on which other positions are requested.
    """

    def __init__(
        self, seed: int, positions: np.ndarray, mirrored: np.ndarray | None = None
    ) -> None:
        self.seed = seed
        self.positions = positions
        self._mirrored = mirrored
        self._count = int(positions.max(initial=0)) + 1
        self._drawn: dict[tuple[int, ...], np.ndarray] = {}

    def uniform(self, kind: int, columns: int) -> np.ndarray:
        """Return numbers in [0, 1), float64 [n, columns]."""
        if (kind, columns) not in self._drawn:
            drawn = np.random.default_rng([self.seed, kind]).random((self._count, columns))
            self._drawn[kind, columns] = drawn
        return self._drawn[kind, columns][self.positions]

    def seeds(self, kind: int, group: int = 1) -> np.ndarray:
        """Return seeds for torch, int64 [n] below 2^32; positions of a group have equal seeds."""
        if (kind,) not in self._drawn:
            drawn = np.random.default_rng([self.seed, kind]).integers(2**32, size=self._count)
            self._drawn[kind,] = drawn
        return self._drawn[kind,][self.positions // group]

    def mirrored(self) -> np.ndarray:
        """Return whether each image is mirrored, bool [n]; by default with probability one half."""
        if self._mirrored is not None:
            return self._mirrored[self.positions]
        return self.uniform(_FRAME, 3)[:, 2] < 0.5

    def part(self, chosen: slice | np.ndarray) -> Draws:
        """Return the draws of some of the images."""
        other = copy.copy(self)  # shares the numbers drawn so far
        other.positions = self.positions[chosen]
        return other


@contextmanager
def _own_generator() -> Iterator[torch.Generator]:
    """Lend torch's CPU generator and restore its state afterwards.

    `torch.manual_seed` would also seed the GPUs.
    """
    generator = torch.default_generator
    state = generator.get_state()
    try:
        yield generator
    finally:
        generator.set_state(state)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch's operations on the CPU to one thread.

    More threads change the order of sums and thereby, rarely, the last bit of an image. They are
    not faster either: the operations are small, and on busy cores threads may wait for each other a
    hundred times as long as they work.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def frame(images: Tensor, how: Augmentation | Preparation, draws: Draws) -> Tensor:
    """Crop, flip and resize images of one size, uint8 [n, c, h, w] to uint8 [n, c, size, size]."""
    if not len(images):
        return images.new_empty((0, images.shape[1], how.size, how.size))
    if isinstance(how, Preparation):
        return _centre(images, how.size, round(how.size / how.crop_share))
    if how.crop == "resized":
        images = _resized_crops(images, how, draws)
    elif how.crop == "pad":
        images = _centre(_shifted(images, draws), how.size, how.size)
    else:
        images = _centre(images, how.size, how.size)
    if how.flip:
        chosen = np.flatnonzero(draws.mirrored())
        flipped = on_device(chosen, images.device)
        mirrored = F.horizontal_flip_image(images.index_select(0, flipped))
        images = images.index_copy(0, flipped, mirrored)
    return images


def _centre(images: Tensor, size: int, side: int) -> Tensor:
    """Resize the shorter side to `side`, then crop the central square of `size`."""
    short, long = sorted(images.shape[-2:])
    if long > 8 * short:  # avoids resizing ends, perhaps to gigabytes, that are cropped afterwards
        images = F.center_crop_image(images, [min(n, 8 * short) for n in images.shape[-2:]])
    if short != side:
        images = F.resize_image(images, [side], antialias=True)
    if images.shape[-2:] != (size, size):
        images = F.center_crop_image(images, [size, size])
    return images


def _shifted(images: Tensor, draws: Draws) -> Tensor:
    """Shift each image randomly by up to an eighth of its sides, with reflected borders."""
    height, width = images.shape[-2:]
    pad_y, pad_x = height // 8, width // 8
    padded = F.pad_image(images, [pad_x, pad_y, pad_x, pad_y], padding_mode="reflect")
    shares = draws.uniform(_FRAME, 3)[:, :2] * (2 * pad_y + 1, 2 * pad_x + 1)
    cut = _cut_in_groups if images.device.type == "cpu" else _cut_at_once
    return cut(padded, shares.astype(np.int64), height, width)


def _cut_in_groups(padded: Tensor, offsets: np.ndarray, height: int, width: int) -> Tensor:
    """Crop a window of each image, with its row and column in `offsets` [n, 2].

    Images with equal offsets are brought together and cropped at once.
    """
    order = np.lexsort(offsets.T)
    ordered = padded.index_select(0, torch.from_numpy(order))
    ends = np.flatnonzero(np.diff(offsets[order], axis=0).any(1)) + 1
    crops = [
        F.crop_image(ordered[start:stop], *offsets[order[start]].tolist(), height, width)
        for start, stop in itertools.pairwise([0, *ends.tolist(), len(order)])
    ]
    return torch.cat(crops).index_select(0, torch.from_numpy(np.argsort(order)))


def _cut_at_once(padded: Tensor, offsets: np.ndarray, height: int, width: int) -> Tensor:
    """Crop like `_cut_in_groups`, by one indexing; on a GPU, one launch per group takes longer."""
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    places = on_device(np.column_stack([np.arange(len(offsets)), offsets]), padded.device)
    image, row, column = places.unbind(1)
    return windows[image, :, row, column]


def _resized_crops(images: Tensor, how: Augmentation, draws: Draws) -> Tensor:
    transform = v2.RandomResizedCrop(how.size, scale=(how.crop_area, 1.0))
    output = images.new_empty((*images.shape[:2], how.size, how.size))
    with _own_generator() as generator:
        for index, seed in enumerate(draws.seeds(_CROP)):
            generator.manual_seed(int(seed))
            output[index] = transform(images[index])
    return output


def recolour(images: Tensor, how: Augmentation | Preparation, draws: Draws) -> Tensor:
    """Apply the policy to uint8 images [n, c, size, size], one draw for each group of positions."""
    if isinstance(how, Preparation) or how.policy == "none" or not len(images):
        return images
    fill = tuple(round(255 * value) for value in _channels(how.mean, images.shape[1]))
    transform = _policy(how.policy, how.magnitude, how.layers, fill)
    seeds = draws.seeds(_POLICY, how.group)
    output = torch.empty_like(images)
    with _own_generator() as generator:
        for chosen in _groups(draws.positions, how.group):
            generator.manual_seed(int(seeds[chosen.start]))
            output[chosen] = transform(images[chosen])
    return output


def _groups(positions: np.ndarray, group: int) -> Iterator[slice]:
    """Yield runs of ascending positions [n] that belong to the same group."""
    ends = np.flatnonzero(np.diff(positions // group)) + 1
    borders = [0, *ends.tolist(), len(positions)]
    for start, stop in itertools.pairwise(borders):
        yield slice(start, stop)


class _RandAugment(v2.RandAugment):
    """torchvision's RandAugment with fractional magnitudes on the papers' scale, also above 10."""

    def __init__(self, layers: int, magnitude: float, fill: tuple[int, ...]) -> None:
        super().__init__(layers, 0, interpolation="bilinear", fill=list(fill))
        self._AUGMENTATION_SPACE = {
            name: (functools.partial(_strength, name, levels, magnitude / 10), signed)
            for name, (levels, signed) in v2.RandAugment._AUGMENTATION_SPACE.items()
        }

    def _apply_image_or_video_transform(
        self, image: Any, transform_id: str, magnitude: float, **options: Any
    ) -> Any:
        if transform_id in ("Brightness", "Color", "Contrast", "Sharpness"):
            magnitude = max(magnitude, -0.9)  # factors are 1 + magnitude and must not be negative
        return super()._apply_image_or_video_transform(image, transform_id, magnitude, **options)


def _strength(
    name: str, levels: Any, share: float, bins: int, height: int, width: int
) -> list[float] | None:
    """Return the strength of an operation as a list of one level, as torchvision expects it.

    `levels` gives its weakest and strongest value. Operations that would erase the image stop at
    the strongest.
    """
    ends = levels(2, height, width)
    if ends is None:
        return None
    if name in ("TranslateX", "TranslateY", "Posterize", "Solarize"):
        share = min(share, 1.0)
    strength = float(ends[0]) + (float(ends[1]) - float(ends[0])) * share
    return [round(strength) if name == "Posterize" else strength]


@functools.lru_cache(maxsize=16)
def _policy(name: str, magnitude: float, layers: int, fill: tuple[int, ...]) -> v2.Transform:
    if name == "randaugment":
        return _RandAugment(layers, magnitude, fill)
    cifar = name == "autoaugment-cifar10"
    policy = v2.AutoAugmentPolicy.CIFAR10 if cifar else v2.AutoAugmentPolicy.IMAGENET
    return v2.AutoAugment(policy, interpolation="bilinear", fill=list(fill))


def finish(images: Tensor, how: Augmentation | Preparation, draws: Draws) -> Tensor:
    """Normalise uint8 [n, c, size, size] to float32 in channels_last, and erase rectangles."""
    channels = images.shape[1]
    mean, std = (
        constant(tuple(255 * value for value in _channels(values, channels)), images.device)
        for values in (how.mean, how.std)
    )
    # normalised before channels_last, in which it takes much longer
    floats = images.to(torch.float32).sub_(mean).div_(std)
    floats = floats.contiguous(memory_format=torch.channels_last)
    if isinstance(how, Augmentation) and how.erasing > 0 and len(floats):
        transform = v2.RandomErasing(how.erasing, inplace=True)
        seeds = draws.seeds(_ERASE, how.group)
        with _own_generator() as generator:
            for chosen in _groups(draws.positions, how.group):
                generator.manual_seed(int(seeds[chosen.start]))
                transform(floats[chosen])
    return floats


def _channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if channels == 3 else (sum(values) / len(values),) * channels


def mix(
    images: Tensor,
    targets: Tensor,
    classes: int,
    *,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Mix each image with its neighbour in the batch.

    images         [n, c, h, w].
    targets        int64 [n] or float [n, classes]; those returned are always float [n, classes].
    mixup, cutmix  alpha of their Beta distributions; 0: off. If both are given, each batch gets one
                   of the two, with equal probability (Yun et al. 2019; timm).
    seed           of the step. A step in parts is mixed within each part, all with the same draw.

    Label smoothing is left to the loss: torch's cross_entropy also smooths soft targets.
    """
    for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
        _check_number(name, alpha, 0, 1000)
    chosen: list[Any] = []
    if mixup > 0:
        chosen.append(v2.MixUp(alpha=mixup, num_classes=classes))
    if cutmix > 0:
        chosen.append(v2.CutMix(alpha=cutmix, num_classes=classes))
    if targets.ndim == 1:
        targets = torch.nn.functional.one_hot(targets, classes).to(torch.float32)
    if chosen:
        rng = np.random.default_rng([seed, _ERASE + 1])
        transform = chosen[int(rng.integers(len(chosen)))]
        with _own_generator() as generator:
            generator.manual_seed(int(rng.integers(2**32)))
            images, targets = transform(images, targets)
    return images.contiguous(memory_format=torch.channels_last), targets
