"""Labelled and pseudo-labelled images as one split, mixed within each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.data.augment import Augmentation, Preparation
from train.data.split import UNLABELLED, ImageRequest, Split
from train.data.transfer import on_device


def blend(labelled: Split, unlabelled: Split, *, ratio: float) -> Split:
    """Return a split with `ratio` pseudo-labelled images for each labelled image.

    As in Noisy Student (Xie et al. 2020), each step takes a share ratio / (1 + ratio) of its images
    from `unlabelled`, rounded to whole images. An epoch is one permutation of the labelled images;
    the others are taken from permutations that are repeated as needed. Indices number the labelled
    images first, then the others. Targets are soft if either split has soft targets. Raises
    ValueError if targets are missing.
    """
    return Blend(labelled, unlabelled, ratio)


class Blend(Split):
    """The split that `blend` returns."""

    def __init__(self, first: Split, second: Split, ratio: float) -> None:
        if not 0 < ratio < float("inf"):
            raise ValueError(f"ratio: {ratio!r} is not allowed; use a number above 0, e.g. 3")
        self.first, self.second, self.ratio = first, second, ratio
        self.targets = _joined(first.targets, second.targets)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """See `Split.unreadable`."""
        return tuple(dict.fromkeys((*self.first.unreadable, *self.second.unreadable)))

    def order(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """See `Split.order`; raises ValueError if a batch would lack images of one kind."""
        others = round(batch * self.ratio / (1 + self.ratio))
        own = batch - others
        if not own or not others or own > len(self.first):
            raise ValueError(
                f"batch: {batch} gives {own} labelled and {others} unlabelled images at ratio "
                f"{self.ratio:g}; use a batch with both, and at most {len(self.first)} labelled"
            )
        labelled = self.first.order(rng, own)
        needed = len(labelled) * others
        runs = -(-needed // len(self.second))
        pool = np.concatenate([rng.permutation(len(self.second)) for _ in range(runs)])[:needed]
        rows = np.concatenate([labelled, len(self.first) + pool.reshape(-1, others)], 1)
        # shuffled, so that every part of a step, on any device, contains both kinds
        return rng.permuted(rows, axis=1)

    def pictures(
        self,
        requests: Sequence[ImageRequest],
        how: Augmentation | Preparation,
        *,
        device: torch.device,
        workers: int,
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """See `Split.pictures`."""
        border = len(self.first)
        masks = [request.indices < border for request in requests]
        sources = []
        for split, own, offset in ((self.first, True, 0), (self.second, False, border)):
            places = [np.flatnonzero(mask == own) for mask in masks]
            some = [
                ImageRequest(request.indices[at] - offset, request.draws.part(at))
                for request, at in zip(requests, places, strict=True)
            ]
            share = -(-workers // 2)
            images = split.pictures(some, how, device=device, workers=share)
            sources.append((places, images, offset))
        for number, request in enumerate(requests):
            used = np.empty(len(request.indices), np.int64)
            batch: Tensor | None = None
            for places, pictures, offset in sources:
                images, taken = next(pictures)
                if batch is None:
                    batch = images.new_empty((len(used), *images.shape[1:]))
                used[places[number]] = taken + offset
                batch[on_device(places[number], device)] = images
            assert batch is not None
            yield batch, used

    def select(self, indices: Any) -> Split:
        """Raise ValueError, because a blend does not support selections."""
        raise ValueError("select: not supported for a blend; select from its splits, then blend")

    def name(self, index: int) -> str | None:
        """See `Split.name`."""
        border = len(self.first)
        first = index < border
        return self.first.name(index) if first else self.second.name(index - border)

    def picture(self, index: int, size: int | None = None) -> np.ndarray:
        """See `Split.picture`."""
        border = len(self.first)
        if index < border:
            return self.first.picture(index, size)
        return self.second.picture(index - border, size)


def _joined(first: Tensor, second: Tensor) -> Tensor:
    for name, targets in (("labelled", first), ("unlabelled", second)):
        if targets.ndim == 1 and bool((targets == UNLABELLED).any()):
            raise ValueError(f"blend: the {name} images lack targets; give them by with_targets")
    classes = max((part.shape[1] for part in (first, second) if part.ndim == 2), default=0)
    if not classes:
        return torch.cat([first, second])
    soft = []
    for part in (first, second):
        if part.ndim == 1:
            if int(part.max()) >= classes:
                raise ValueError(f"blend: target {int(part.max())} is not among {classes} classes")
            part = torch.nn.functional.one_hot(part, classes).to(torch.float32)
        soft.append(part)
    return torch.cat(soft)
