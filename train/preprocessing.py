"""Preprocessing of images for the evaluation of a trained network: `Preprocessing`.

Weights and exports contain this description as plain data. `preprocess` applies it with the same
functions that evaluate a training (`train.data`), so that a network gets equal inputs in training,
in `vbs predict`, and in a program that uses an export. The steps are:

1. the image as RGB (or grey) with 8 bits per channel, upright, without alpha: `train.data.decode`;
2. resize the shorter side to side = round(resolution / crop_share) pixels and the longer one to
   int(side * longer / shorter), bilinear with antialiasing as in Pillow (the filter's support
   grows with the reduction), rounded to uint8; an image more than 8 times as long as wide is first
   cropped to 8 times at its centre;
3. crop the central square of `resolution` pixels, from row round((height - resolution) / 2) and
   column round((width - resolution) / 2), halves rounded to even;
4. normalise each channel, from 0 to 255: subtract 255 mean, divide by 255 std, in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from train.checkpoint import MEANS, SIDE, STDS, Weights
from train.data.augment import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Draws,
    Preparation,
    finish,
    frame,
    one_thread,
)
from train.data.decode import decode, pixels_of
from train.recipe_fields import RANGES
from vbs.text import quoted

INTERPOLATIONS = ("bilinear",)
CHANNELS = (1, 3)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Evaluation preprocessing of a trained network.

    resolution     side in pixels of the network's square input.
    crop_share     side of the centre crop, as a share of the resized image's shorter side, in
                   (0, 1].
    interpolation  of the resizing: "bilinear", with antialiasing.
    mean, std      of red, green and blue, for images in [0, 1]; a network with one channel uses
                   their averages (`channel_mean`).
    channels       3, or 1 for grey.

    Raises ValueError (one line) for other values.
    """

    resolution: int
    crop_share: float = 1.0
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: int = 3

    def __post_init__(self) -> None:
        side = self.resolution
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= SIDE:
            raise _wrong("resolution", side, f"a whole number from 1 to {SIDE}")
        low, high = RANGES["eval_crop"]
        if not _is_number(self.crop_share, low, high):
            raise _wrong("crop_share", self.crop_share, f"a number from {low:g} to {high:g}")
        if self.interpolation not in INTERPOLATIONS:
            raise _wrong("interpolation", self.interpolation, " or ".join(INTERPOLATIONS))
        if isinstance(self.channels, bool) or self.channels not in CHANNELS:
            raise _wrong("channels", self.channels, "3, or 1 for grey")
        for name, (least, most) in (("mean", MEANS), ("std", STDS)):
            values = getattr(self, name)
            three = isinstance(values, tuple) and len(values) == 3
            if not three or not all(_is_number(value, least, most) for value in values):
                raise _wrong(name, values, f"three numbers from {least:g} to {most:g}")

    @classmethod
    def of_weights(cls, weights: Weights) -> Preprocessing:
        """Return the preprocessing of a training's weights."""
        return cls(
            resolution=weights.resolution,
            crop_share=weights.crop_share,
            mean=weights.mean,
            std=weights.std,
            channels=weights.architecture.in_channels,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], *, channels: int = 3) -> Preprocessing:
        """Return the preprocessing of `to_dict`; raise ValueError if a field is missing or invalid.

        channels  channels of the network, used if the description has no "channels". A missing
                  "interpolation" means bilinear.
        """
        if not isinstance(fields, Mapping):
            raise ValueError(f"preprocessing: {quoted(fields)} is not an object of names")
        known = {"interpolation": "bilinear", "channels": channels, **fields}
        values: dict[str, Any] = {}
        for each in dataclasses.fields(cls):
            if each.name not in known:
                raise ValueError(f"preprocessing: {each.name} is missing")
            value = known[each.name]
            values[each.name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"preprocessing: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the fields by name, mean and std as lists."""
        values = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @property
    def side(self) -> int:
        """Size in pixels that the shorter side is resized to before the crop."""
        return round(self.resolution / self.crop_share)

    @property
    def channel_mean(self) -> tuple[float, ...]:
        """Means of the network's input channels, for images in [0, 1]."""
        return self.mean if self.channels == 3 else (sum(self.mean) / 3,)

    @property
    def channel_std(self) -> tuple[float, ...]:
        """Standard deviations of the network's input channels, for images in [0, 1]."""
        return self.std if self.channels == 3 else (sum(self.std) / 3,)

    @property
    def preparation(self) -> Preparation:
        """The preprocessing in the form that `train.data` takes."""
        return Preparation(
            size=self.resolution, crop_share=self.crop_share, mean=self.mean, std=self.std
        )


def preprocess(image: Image.Image | np.ndarray | bytes, how: Preprocessing) -> np.ndarray:
    """Return the network's input for an image, float32 [channels, resolution, resolution].

    image  of any size and mode: an image of Pillow; an encoded image (the content of a file); or
           decoded uint8, grey [h, w] or [h, w, 1], RGB [h, w, 3], or with alpha [h, w, 4].

    Raises ValueError for other arrays and if the image cannot be decoded
    (`train.data.decode.Unreadable` for encoded images).
    """
    if isinstance(image, bytes):
        pixels = decode(image, how.channels)
    else:
        opened = image if isinstance(image, Image.Image) else _from_array(image)
        pixels = pixels_of(opened, how.channels)
    with one_thread():
        return normalised(framed(pixels[None], how), how)[0].contiguous().numpy()


def framed(pixels: Tensor, how: Preprocessing) -> Tensor:
    """Resize and crop images uint8 [n, channels, h, w] to [n, channels, resolution, resolution]."""
    return frame(pixels, how.preparation, _draws(len(pixels)))


def normalised(images: Tensor, how: Preprocessing) -> Tensor:
    """Normalise uint8 [n, channels, resolution, resolution] to float32, in channels_last."""
    return finish(images, how.preparation, _draws(len(images)))


def _draws(count: int) -> Draws:
    """Return placeholders of random draws, which the evaluation does not use."""
    return Draws(0, np.arange(count))


def _from_array(array: np.ndarray) -> Image.Image:
    shape = array.shape[:2] if array.shape[2:] == (1,) else array.shape
    usual = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if array.dtype != np.uint8 or not usual or not array.size:
        raise ValueError(
            f"image: {array.dtype} {list(array.shape)} is not allowed; use uint8 [h, w], "
            "[h, w, 3] or [h, w, 4]"
        )
    return Image.fromarray(np.ascontiguousarray(array).reshape(shape))


def _is_number(value: Any, low: float, high: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high


def _wrong(name: str, value: Any, right: str) -> ValueError:
    return ValueError(f"{name}: {quoted(value)} is not allowed; use {right}")
