"""What encoded images look like decoded.

Files are taken as hostile: nothing is extracted, formats are few, sizes are bounded.
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
MAX_PIXELS = 89_478_485  # of a decoded one: the size from which PIL suspects a bomb
HEAD = 512  # bytes of a file that show what it is

# larger ones are refused here, in one line; Pillow's warning would add two more
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# odd tags that are not needed: two lines for each
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(Tiff|Jpeg|Mpo)ImagePlugin")


class Unreadable(Exception):
    """An image that cannot be decoded; says why, in a line."""


class OtherSize(Exception):
    """An image whose sides are not those that were wanted; it is not decoded."""


def decode(data: bytes, channels: int, *, sides: tuple[int, int] | None = None) -> Tensor:
    """uint8 [channels, h, w] of an encoded image; raises Unreadable.

    sides  what h and w must be, in either order; raises OtherSize where the file states others.

    Turned as its EXIF says, alpha laid on white, palettes and CMYK to RGB, 16 bits to 8 as
    `train.data.depth` says, grey repeated over three channels, or colours weighed into one; of
    animations the first frame.
    """
    try:
        return _decoded(data, channels, sides)
    except OtherSize:
        raise
    except Exception as error:  # PIL's readers raise whatever they meet
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
    """uint8 [channels, h, w] of an image that Pillow has opened, as `decode` makes it of a file.

    turned  its EXIF orientation where its metadata were taken away; 0: as its metadata say.

    Raises ValueError where the range of its values is unknown, and whatever Pillow's readers raise.
    """
    deep = is_deep(image)
    if image.format == "TIFF":
        image.info.pop("xmp", None)  # Pillow would search it, of whatever type it is
    image.load()
    # a PNG may state it after its pixels; Pillow has turned a TIFF already
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
    """Height and width in pixels by the start of an encoded image; raises Unreadable.

    Of a PNG file whose orientation follows its pixels, the sides are those before it is turned.
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
    """The image, not yet decoded, and the orientation of a JPEG; 0 of other formats.

    whole  whether its pixels are wanted; of a JPEG nothing more than the header is read otherwise.
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
    """Without alpha."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image)
    return image


def reason(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
