"""Test helper: small images in the formats of cameras, editors and scanners."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def smooth(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Return uint8 [height, width, channels] with coarse and fine structure."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, channels), np.uint8).squeeze())
    large = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int64)
    noisy = large.reshape(height, width, channels) + rng.integers(-20, 20, (height, width, 1))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def odd_images() -> dict[str, bytes]:
    """Return encoded images by file name, of all kinds that `train.data.decode` reads."""
    rgb = Image.fromarray(smooth(0, 61, 43))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    palette = rgb.quantize(16)
    palette.info["transparency"] = 3
    alpha = rgb.convert("RGBA")
    alpha.putalpha(Image.fromarray(smooth(1, 61, 43, 1)[..., 0]))
    deep = Image.fromarray(smooth(2, 37, 55, 1)[..., 0].astype(np.uint16) * 257)
    return {
        "colour.jpg": _file(rgb, "JPEG"),
        "wide.png": _file(Image.fromarray(smooth(3, 19, 200)), "PNG"),
        "tiny.png": _file(Image.fromarray(smooth(4, 3, 5)), "PNG"),
        "grey.jpg": _file(rgb.convert("L"), "JPEG"),
        "cmyk.jpg": _file(rgb.convert("CMYK"), "JPEG"),
        "turned.jpg": _file(rgb, "JPEG", exif=rotated),
        "turned.png": _file(rgb, "PNG", exif=rotated),
        "deep.png": _file(deep, "PNG"),
        "deep.tif": _file(deep, "TIFF"),
        "palette.png": _file(palette, "PNG", transparency=3),
        "alpha.webp": _file(alpha, "WEBP", lossless=True),
        "black_white.png": _file(rgb.convert("1"), "PNG"),
    }


def write_images(folder: Path, images: dict[str, bytes]) -> list[Path]:
    """Write the images as files of a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in images]
    for path, content in zip(paths, images.values(), strict=True):
        path.write_bytes(content)
    return paths


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
