"""Decoding of encoded images.

Files are treated as untrusted: nothing is extracted, formats are few, and sizes are limited.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from train.data.depth import eight_bits, is_deep
from train.data.exif import SIDEWAYS, TIFF_HEADS, TURNS, orientation_of, plain_jpeg, plain_tiff
from train.data.formats import FORMATS, what_it_is

MAX_BYTES = 256 * 1024**2  # of an encoded image
MAX_PIXELS = 89_478_485  # of a decoded image; above it PIL suspects a decompression bomb
HEAD = 512  # bytes from which the type of a file is recognised

# larger images are rejected here, in one line; Pillow's warning would add two more
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Pillow prints two lines for each invalid tag, also for tags that are not needed
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(Tiff|Jpeg|Mpo)ImagePlugin")


class Unreadable(Exception):
    """Raised for an image that cannot be decoded; its text is the reason, in one line."""


class OtherSize(Exception):
    """Raised for an image that is not decoded because its size is not the expected one."""


def decode(data: bytes, channels: int, *, sides: tuple[int, int] | None = None) -> Tensor:
    """Decode an image to uint8 [channels, h, w]; raise Unreadable if that is not possible.

    sides  expected h and w, in either order; raises OtherSize if the file states another size.

    The image is turned by its EXIF orientation. Alpha is blended with white. Palettes and CMYK
    become RGB; 16 bits become 8 (see `train.data.depth`). Grey is repeated if `channels` is 3, and
    colours are converted to grey if it is 1. The first frame of an animation is used.
    """
    try:
        return _decoded(data, channels, sides)
    except OtherSize:
        raise
    except Exception as error:  # PIL's readers raise many types of exceptions
        why = error
    try:
        bare = plain_tiff(data)
        if bare is None:
            raise why
        return _decoded(bare, channels, sides)
    except OtherSize:
        raise
    except Exception:
        raise Unreadable(reason(why)) from None


def _decoded(data: bytes, channels: int, sides: tuple[int, int] | None) -> Tensor:
    image, turned = _opened(io.BytesIO(data), whole=True)
    if sides and sides not in (image.size, image.size[::-1]):
        raise OtherSize
    return pixels_of(image, channels, turned=turned)


def pixels_of(image: Image.Image, channels: int, *, turned: int = 0) -> Tensor:
    """Return uint8 [channels, h, w] of an image opened by Pillow, as `decode` does for a file.

    turned  EXIF orientation, if the metadata have been removed; 0: read it from the metadata.

    Raises ValueError if the range of its values is unknown, and any exception of Pillow's readers.
    """
    deep = is_deep(image)
    if image.format == "TIFF":
        image.info.pop("xmp", None)  # Pillow would search it without checking its type
    image.load()
    # a PNG may have its orientation after its pixels; Pillow has already turned a TIFF
    turned = turned or (1 if image.format == "TIFF" else orientation_of(image))
    image = _plain(eight_bits(image, deep=deep))
    if turned in TURNS:
        image = image.transpose(TURNS[turned])
    mode = "RGB" if channels == 3 else "L"
    if image.mode != mode:
        image = image.convert(mode)
    pixels = np.array(image)
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1)


def size_of(file: BinaryIO) -> tuple[int, int]:
    """Return height and width in pixels from the start of an encoded image; raises Unreadable.

    If the orientation of a PNG file follows its pixels, the size is that before turning.
    """
    try:
        return _sides(file)
    except Exception as error:
        why = error
    try:
        file.seek(0)
        head = file.read(4)
        bare = plain_tiff(head + file.read(MAX_BYTES)) if head in TIFF_HEADS else None
        if bare is None:
            raise why
        return _sides(io.BytesIO(bare))
    except Exception:
        raise Unreadable(reason(why)) from None


def _sides(file: BinaryIO) -> tuple[int, int]:
    image, turned = _opened(file, whole=False)
    turned = turned or (1 if image.format == "TIFF" else orientation_of(image))
    sides = (image.height, image.width)
    return (sides[1], sides[0]) if turned in SIDEWAYS else sides


def _opened(file: BinaryIO, *, whole: bool) -> tuple[Image.Image, int]:
    """Return the image, not yet decoded, and the orientation of a JPEG (0 for other formats).

    whole  whether the pixels are needed; otherwise only the header of a JPEG is read.
    """
    if file.seek(0, os.SEEK_END) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    file.seek(0)
    jpeg = plain_jpeg(file)
    turned = 0
    if jpeg is not None:
        head, turned = jpeg
        file = io.BytesIO(head + file.read() if whole else head)
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError:
        file.seek(0)
        raise ValueError(what_it_is(file.read(HEAD))) from None
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
    return image, turned


def _plain(image: Image.Image) -> Image.Image:
    """Return the image with alpha blended with white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image)
    return image


def reason(error: Exception) -> str:
    """Return the message of an exception on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
