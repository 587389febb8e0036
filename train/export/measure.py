"""Measurements of an export in its runtime: accuracy on held-out images, size, latency."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.export.images import Images, decoded, prepared
from train.export.latency import Latency, latencies
from train.export.loss import Loss, accuracy_loss, as_logits
from train.export.request import Request
from train.export.runtimes import Function
from vbs.load import Load, LoadWatch
from vbs.progress import Progress, State


@dataclass(frozen=True)
class Measured:
    """Measurements of an export.

    loss      of accuracy; None without held-out images.
    data      the images: name of the data set, and the split that they are from.
    bytes     size of all its files.
    latency   of one image.
    before    latency of the network in float32 in the same runtime, measured alternately with
              the export; None if the export is that network.
    runtime   the runtime.
    threads   number of threads.
    load      load of the machine while the latencies were measured.
    """

    loss: Loss | None
    data: str
    bytes: int
    latency: Latency
    before: Latency | None
    runtime: str
    threads: int
    load: Load

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "data": self.data or None,
            "accuracy": None if self.loss is None else self.loss.to_dict(),
            "bytes": self.bytes,
            "runtime": self.runtime,
            "threads": self.threads,
            "latency_seconds": self.latency.to_dict(),
            "float32_latency_seconds": None if self.before is None else self.before.to_dict(),
            "threads_waiting": round(self.load.waiting, 3),
        }


def measured(
    function: Function, reference: Function | None, request: Request, *, size: int, runtime: str
) -> Measured:
    """Measure an export, given as a function.

    function   the export.
    reference  the network in float32 in the same runtime; None if the export is that network.
    size       size of the export in bytes.
    """
    images = request.images
    loss = None if images is None else _loss(function, request, images)
    watch = LoadWatch()
    times = latencies(_calls(function, reference, request))
    return Measured(
        loss,
        "" if images is None else f"{images.name}, {images.kind} images",
        size,
        times["export"],
        times.get("float32"),
        runtime,
        torch.get_num_threads(),
        watch.load(),
    )


@torch.inference_mode()
def _loss(function: Function, request: Request, images: Images) -> Loss:
    """Measure the loss on the test images; each batch is prepared once for both networks."""
    how, config = request.preprocessing, request.config
    total = len(images.test)
    before, after, labels = [], [], []
    raw = decoded(images.test, how) if config.with_preprocessing else None
    with Progress(State(0, total, "images compared"), lines=3) as progress:
        done = 0
        for batch, targets in prepared(images.test, how):
            before.append(request.network(batch))
            if raw is None:
                after.append(function(batch))
            else:
                after += map(function, itertools.islice(raw, len(batch)))
            labels.append(targets)
            done += len(targets)
            progress.update(State(done, total, "images compared"))
    answers = as_logits(torch.cat(after).float(), probabilities=config.softmax)
    return accuracy_loss(torch.cat(before), answers, torch.cat(labels))


def _calls(
    function: Function, reference: Function | None, request: Request
) -> dict[str, Callable[[], Any]]:
    """Return functions without arguments that compute one image."""
    plain = torch.randn(request.image_shape(1), generator=torch.Generator().manual_seed(0))
    given = pixels_of_latency(request) if request.config.with_preprocessing else plain

    def call(one: Function, images: Tensor) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                return one(images)

        return run

    calls = {"export": call(function, given)}
    if reference is not None:
        calls["float32"] = call(reference, plain)
    return calls


def pixels_of_latency(request: Request) -> Tensor:
    """Return the decoded image to measure latency on.

    The first test image, or noise with twice the network's side.
    """
    if request.images is not None:
        return next(decoded(request.images.test, request.preprocessing))
    how = request.preprocessing
    shape = (1, 2 * how.resolution, 2 * how.resolution, how.channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def bytes_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)
