"""Test helper: a simulated cluster for tests of the trainer, and the files of its trials."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.train import toys

PATIENCE = 240.0  # seconds to wait; the machine may be busy
QUICK = [
    "--set",
    "batch=16",
    "--set",
    "resolution=16",
    "--set",
    "lr=0.02",
    "--set",
    "minival=0.25",
]


def images(place: Path, *, classes: tuple[str, ...] = toys.CLASSES, count: int = 32) -> Path:
    """Write an image folder with `count` training images of each class; return it."""
    rng = np.random.default_rng(0)
    for part, many in (("train", count), ("test", 6)):
        for label, name in enumerate(classes):
            (place / part / name).mkdir(parents=True)
            for index in range(many):
                pixels = rng.integers(120, size=(16, 16, 3), dtype=np.uint8)
                pixels[..., label] += 60
                Image.fromarray(pixels).save(place / part / name / f"{index}.png")
    return place


def networks(place: Path, count: int) -> Path:
    """Write a JSON file with a list of networks that differ in their stem; return it."""
    nets = [dataclasses.replace(toys.NETWORK, stem=8 * (n + 1)).to_json() for n in range(count)]
    path = place / f"nets{count}.json"
    path.write_text(json.dumps([json.loads(net) for net in nets]))
    return path


def curve(folder: Path) -> dict[str, Any]:
    """Return a trial's curve.json; empty if it has not started."""
    path = folder / "curve.json"
    return json.loads(path.read_text()) if path.is_file() else {"rows": [], "where": []}


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def trials(out: Path) -> list[Path]:
    return sorted(path for path in out.glob("trials/*"))


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Call a function until it returns a true value, and return that."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.05)
    return found
