"""Test helper: writes image files in several containers, and reads splits as tensors."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from train.data import Split, evaluation_steps
from train.data.augment import Preparation

PLAIN = Preparation(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def encoded(seed: int, size: tuple[int, int] = (16, 16), kind: str = "PNG") -> bytes:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def folder_of(
    place: Path, counts: dict[str, int], size: Callable[[int], tuple[int, int]] = lambda n: (16, 16)
) -> Path:
    """Write image files into the folders that the keys name; return the folder of all."""
    number = sum(len(name) for name in counts)
    for folder, count in counts.items():
        (place / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            number += 1
            (place / folder / f"{index:03}.png").write_bytes(encoded(number, size(number)))
    return place


def zipped(place: Path, to: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(to, "w") as archive:
        for path in sorted(place.rglob("*")):
            archive.write(path, prefix + str(path.relative_to(place)))
    return to


def all_of(split: Split, how: Any = PLAIN, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(split.batches(evaluation_steps(len(split), 7), how, **options))
    return torch.cat([images for images, _ in batches]), torch.cat([t for _, t in batches])
