"""Conversion of images with more than 8 bits per channel to 8, by the range that the file states.

TIFF states the range by SMinSampleValue and SMaxSampleValue, or by BitsPerSample. If 12-bit data
are stored in 16 bits and the file does not say so, they would become nearly black; these images are
rejected. Source: TIFF 6.0, sections 8, 12 and 19.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

FULL = 65535
DARK = 4096  # 16-bit images entirely below this are taken for data of 12 bits or fewer
_BITS, _MAXIMUM, _SIGNED_MINIMUM, _SIGNED_MAXIMUM = 258, 281, 340, 341  # tags of TIFF


def is_deep(image: Image.Image) -> bool:
    """Return whether the channels of a colour image that is not yet decoded have 16 bits."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def eight_bits(image: Image.Image, *, deep: bool) -> Image.Image:
    """Return the decoded image with 8 bits per channel; raise ValueError if its range is unknown.

    deep  whether the file has 16 bits per channel; Pillow keeps only the upper 8 of colours.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        low, high = _range(image, values)
        # saves memory, as images may have 90 million pixels; float32 is exact below 2**24
        small = image.mode == "F" or max(abs(low), abs(high)) < 2**24
        scaled = values.astype(np.float32 if small else np.float64)
        scaled -= low
        scaled *= 256 / (high - low if image.mode == "F" else high - low + 1)
        np.nan_to_num(scaled, copy=False, nan=0.0)
        return Image.fromarray(np.clip(scaled, 0, 255, out=scaled).astype(np.uint8))
    if deep:
        brightest = max(high for _, high in _extrema(image))
        if 0 < brightest < DARK >> 8 or _stated(image, FULL) < DARK:
            raise ValueError(
                f"16-bit colours that use only {brightest / 255:.0%} of their range; scale them to "
                "the whole range, or convert them to 8 bits"
            )
    return image


def _extrema(image: Image.Image) -> list[Any]:
    bands: Any = image.getextrema()
    return [ends for name, ends in zip(image.getbands(), bands, strict=True) if name != "A"]


def _range(image: Image.Image, values: np.ndarray) -> tuple[float, float]:
    """Return the values of black and white."""
    low, high = _tag(image, _SIGNED_MINIMUM), _tag(image, _SIGNED_MAXIMUM)
    if high is not None and high > (low or 0):
        return low or 0, high
    if image.mode == "F":
        raise ValueError(
            "floating-point pixels, whose range the file does not state (SMinSampleValue, "
            "SMaxSampleValue); convert them to 8 bits"
        )
    if image.mode == "I" and image.format == "TIFF":
        stated = _stated(image, 0)
        if not stated:
            raise ValueError(
                "signed or 32-bit pixels, whose range the file does not state (SMinSampleValue, "
                "SMaxSampleValue); convert them to 8 or 16 bits"
            )
        return 0, stated
    high = _stated(image, FULL)
    brightest = int(values.max(initial=0))
    if high == FULL and 0 < brightest < DARK and image.format != "PPM":  # PPM states its range
        raise ValueError(
            f"16-bit pixels up to {brightest} of {FULL}, and the file does not state their range "
            "(SMaxSampleValue, BitsPerSample); scale them to the whole range, or convert them to "
            "8 bits"
        )
    return 0, high


def _stated(image: Image.Image, default: int) -> int:
    """Return the value of white by BitsPerSample or else MaxSampleValue; `default` without both.

    MaxSampleValue is a statistic of one image. It is rounded up to whole bits, so that all images
    of a camera are scaled alike.
    """
    bits = _tag(image, _BITS)
    if bits is not None and 8 < bits < 16:
        return 2 ** int(bits) - 1
    most = _tag(image, _MAXIMUM)
    if most is not None and 0 < most < 2**32:
        return 2 ** max(8, math.ceil(math.log2(most + 1))) - 1
    return default


def _tag(image: Image.Image, number: int) -> float | None:
    """Return a numeric tag of a TIFF file; None if it is missing or not a number."""
    value = getattr(image, "tag_v2", {}).get(number)
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return found if math.isfinite(found) else None
