"""Images and their targets, and how steps are drawn from them.

A training step is a row of indices and a seed. What its images look like depends on these alone,
not on who computes them: memory or stream, one process or many, a resumed run or not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.data.augment import Augmentation, Draws, Preparation, finish, one_thread
from train.data.transfer import on_device

UNLABELLED = -1  # the target of an image without label: a loss refuses it


class Step(NamedTuple):
    """One batch of an optimizer step.

    indices  of the WHOLE step, over all devices and accumulation parts, int64 [step].
    part     which of them this batch is.
    seed     of the step, not negative.
    """

    indices: np.ndarray
    part: slice
    seed: int


class ImageRequest(NamedTuple):
    """Images to read: their indices in a split [n], ascending positions in the step [n], seed."""

    indices: np.ndarray
    draws: Draws


class Split:
    """Images with targets, int64 [n] (UNLABELLED where unknown) or float32 [n, classes]."""

    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of the files that turned out to be unreadable so far; none where all are decoded.

        Those that `load` went without (`Data.skipped`) are not among them.
        """
        return ()

    def order(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """An epoch: int64 [steps, batch], a random permutation without the incomplete last batch.

        Raises ValueError where the split has fewer images than a batch.
        """
        if not 1 <= batch <= len(self):
            raise ValueError(f"batch: {batch} is not allowed; use 1 to {len(self)}, the images")
        steps = len(self) // batch
        return rng.permutation(len(self))[: steps * batch].reshape(steps, batch)

    def batches(
        self,
        steps: Sequence[Step],
        augmentation: Augmentation | Preparation,
        *,
        device: str | torch.device = "cpu",
        workers: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised float32 images [part, c, size, size] in channels_last, and their targets.

        workers  processes that decode and augment where images are streamed; in-memory images are
                 augmented on the device. Neither changes what comes back; another kind of device
                 may, by rounding.
        """
        device = torch.device(device)
        targets = self.targets.to(device)
        prepared = self.prepared(steps, augmentation, device=device, workers=workers)
        for images, used in prepared:
            yield images, targets[on_device(used, device)]

    def prepared(
        self,
        steps: Sequence[Step],
        augmentation: Augmentation | Preparation,
        *,
        device: torch.device,
        workers: int,
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """The same images as in `batches`, with the indices int64 [part] of those that were used.

        These differ from the requested ones only where a file turned out to be unreadable.
        """
        requests = [_request(step) for step in steps]
        pictures = self.pictures(requests, augmentation, device=device, workers=workers)
        for request, (images, used) in zip(requests, pictures, strict=True):
            with one_thread():
                batch = finish(images, augmentation, request.draws)
            yield batch, used

    def pictures(
        self,
        requests: Sequence[ImageRequest],
        how: Augmentation | Preparation,
        *,
        device: torch.device,
        workers: int,
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """For each request uint8 images [n, c, size, size] on the device, and the indices [n] used.

        These differ from the requested ones only where a file turned out to be unreadable.
        """
        raise NotImplementedError

    def select(self, indices: Any) -> Split:
        """The images of `indices` [m], in that order, repeats allowed; shares the images."""
        raise NotImplementedError

    def with_targets(self, targets: Tensor) -> Split:
        """The same images with other targets, int64 [n] or float32 [n, classes]."""
        if len(targets) != len(self) or targets.ndim not in (1, 2):
            raise ValueError(
                f"targets: shape {tuple(targets.shape)} is not allowed; "
                f"use [{len(self)}] or [{len(self)}, classes]"
            )
        kind = torch.int64 if targets.ndim == 1 else torch.float32
        if targets.dtype.is_floating_point != kind.is_floating_point:
            raise ValueError(
                f"targets: {targets.dtype} {targets.ndim}-d is not allowed; use {kind}"
            )
        other = copy.copy(self)
        other.targets = targets.detach().to("cpu", kind)
        return other

    def name(self, index: int) -> str | None:
        """Where the image of an index is, for people; None of an image that has no name."""
        return None

    def picture(self, index: int, size: int | None = None) -> np.ndarray:
        """The image as it is, uint8 [h, w, 3]; with `size`, cut and resized to that square.

        One that turns out to be unreadable is replaced as in batches.
        """
        raise NotImplementedError


def _request(step: Step) -> ImageRequest:
    if step.seed < 0:
        raise ValueError(f"seed: {step.seed} is not allowed; use an integer of at least 0")
    positions = np.arange(len(step.indices))[step.part]
    return ImageRequest(
        np.asarray(step.indices, np.int64)[step.part], Draws(int(step.seed), positions)
    )


def evaluation_steps(n: int, batch: int) -> list[Step]:
    """All of n images once, in order; the last step may be shorter."""
    starts = range(0, n, batch)
    indices = [np.arange(start, min(start + batch, n)) for start in starts]
    return [Step(some, slice(0, len(some)), 0) for some in indices]
