"""Splits: images with targets, and the steps that are drawn from them.

A training step is a row of indices and a seed. Its images depend only on these, whether they are in
memory or streamed, in one process or several, in a new run or a resumed one.
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

UNLABELLED = -1  # target of an image without a label; losses raise an error for it


class Step(NamedTuple):
    """One batch of an optimizer step.

    indices   of the WHOLE step, over all devices and accumulation parts, int64 [step].
    part      the slice of them in this batch.
    seed      of the step, not negative.
    mirrored  whether each image of the step is mirrored, if the augmentation flips, bool [step];
              None: drawn with probability one half.
    """

    indices: np.ndarray
    part: slice
    seed: int
    mirrored: np.ndarray | None = None


class ImageRequest(NamedTuple):
    """Images to read: indices [n] in a split, and the draws of their positions in the step."""

    indices: np.ndarray
    draws: Draws


class Split:
    """Images with targets, int64 [n] (UNLABELLED if unknown) or float32 [n, classes]."""

    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of the files found to be unreadable so far; empty if all images are decoded.

        Files that `load` left out (`Data.skipped`) are not included.
        """
        return ()

    def order(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """Return an epoch, int64 [steps, batch]: a random permutation without an incomplete batch.

        Raises ValueError if the split has fewer images than a batch.
        """
        if not 1 <= batch <= len(self):
            raise ValueError(f"batch: {batch} is not allowed; use 1 to {len(self)} (all images)")
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
        """Yield float32 images [part, c, size, size], normalised, in channels_last, and targets.

        workers  processes that decode and augment streamed images; images in memory are augmented
                 on the device. The images do not depend on the workers; on another kind of device
                 they may differ by rounding.
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
        """Yield the images of `batches` with the indices int64 [part] of the images used.

        The indices differ from the requested ones only if a file is unreadable.
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
        """Yield uint8 images [n, c, size, size] on the device and the indices [n] used.

        The indices differ from the requested ones only if a file is unreadable.
        """
        raise NotImplementedError

    def select(self, indices: Any) -> Split:
        """Return the images of `indices` [m], in that order, repeats allowed; shares the images."""
        raise NotImplementedError

    def with_targets(self, targets: Tensor) -> Split:
        """Return the same images with other targets, int64 [n] or float32 [n, classes]."""
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
        """Return the path or place of an image for messages; None if it has no name."""
        return None

    def picture(self, index: int, size: int | None = None) -> np.ndarray:
        """Return an image as uint8 [h, w, 3]; with `size`, cropped and resized to that square.

        An unreadable image is replaced as in `batches`.
        """
        raise NotImplementedError


def _request(step: Step) -> ImageRequest:
    if step.seed < 0:
        raise ValueError(f"seed: {step.seed} is not allowed; use an integer of at least 0")
    positions = np.arange(len(step.indices))[step.part]
    draws = Draws(int(step.seed), positions, step.mirrored)
    return ImageRequest(np.asarray(step.indices, np.int64)[step.part], draws)


def evaluation_steps(n: int, batch: int) -> list[Step]:
    """Return steps that cover n images once, in order; the last step may be shorter."""
    starts = range(0, n, batch)
    indices = [np.arange(start, min(start + batch, n)) for start in starts]
    return [Step(some, slice(0, len(some)), 0) for some in indices]
