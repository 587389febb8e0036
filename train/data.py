"""Images and their targets: what a split is, how steps are drawn from it, and how data are loaded.

A training step is a row of indices and a seed. What its images look like depends on these alone,
not on who computes them: memory or stream, one process or many, a resumed run or not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.augment import Augmentation, Draws, Preparation, finish, one_thread

if TYPE_CHECKING:
    from train.sources import Found, Listing

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


class Ask(NamedTuple):
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
        asks = [_ask(step) for step in steps]
        pictures = self.pictures(asks, augmentation, device=device, workers=workers)
        for ask, (images, used) in zip(asks, pictures, strict=True):
            chosen = targets[torch.from_numpy(used).to(device)]
            with one_thread():
                batch = finish(images, augmentation, ask.draws)
            yield batch, chosen

    def pictures(
        self,
        asks: Sequence[Ask],
        how: Augmentation | Preparation,
        *,
        device: torch.device,
        workers: int,
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """For each ask uint8 images [n, c, size, size] on the device, and the indices [n] used.

        These differ from those asked for only where a file turned out to be unreadable.
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

    def picture(self, index: int, size: int | None = None) -> np.ndarray:
        """The image as it is, uint8 [h, w, 3]; with `size`, cut and resized to that square.

        One that turns out to be unreadable is replaced as in batches.
        """
        raise NotImplementedError


def _ask(step: Step) -> Ask:
    if step.seed < 0:
        raise ValueError(f"seed: {step.seed} is not allowed; use an integer of at least 0")
    positions = np.arange(len(step.indices))[step.part]
    return Ask(np.asarray(step.indices, np.int64)[step.part], Draws(int(step.seed), positions))


def evaluation_steps(n: int, batch: int) -> list[Step]:
    """All of n images once, in order; the last step may be shorter."""
    starts = range(0, n, batch)
    indices = [np.arange(start, min(start + batch, n)) for start in starts]
    return [Step(some, slice(0, len(some)), 0) for some in indices]


def blend(labelled: Split, unlabelled: Split, *, ratio: float) -> Split:
    """Labelled and pseudo-labelled images, `ratio` of the latter for each of the former.

    Noisy Student (Xie et al. 2020): a step of `order` has the share ratio / (1 + ratio) from
    `unlabelled`, rounded to images. An epoch is one permutation of the labelled images; the others
    run through permutations of their own, as far as they get. Indices count the labelled first.
    Targets become soft where those of either are. Raises ValueError where labels are missing.
    """
    return Blend(labelled, unlabelled, ratio)


class Blend(Split):
    """See `blend`."""

    def __init__(self, first: Split, second: Split, ratio: float) -> None:
        if not 0 < ratio < float("inf"):
            raise ValueError(f"ratio: {ratio!r} is not allowed; use a number above 0, as 3")
        self.first, self.second, self.ratio = first, second, ratio
        self.targets = _joined(first.targets, second.targets)

    @property
    def unreadable(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.first.unreadable, *self.second.unreadable)))

    def order(self, rng: np.random.Generator, batch: int) -> np.ndarray:
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
        # shuffled, so that every part of a step, whichever device has it, sees both kinds
        return rng.permuted(rows, axis=1)

    def pictures(
        self,
        asks: Sequence[Ask],
        how: Augmentation | Preparation,
        *,
        device: torch.device,
        workers: int,
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        border = len(self.first)
        masks = [ask.indices < border for ask in asks]
        sources = []
        for split, own, offset in ((self.first, True, 0), (self.second, False, border)):
            places = [np.flatnonzero(mask == own) for mask in masks]
            some = [
                Ask(ask.indices[at] - offset, Draws(ask.draws.seed, ask.draws.positions[at]))
                for ask, at in zip(asks, places, strict=True)
            ]
            share = -(-workers // 2)
            images = split.pictures(some, how, device=device, workers=share)
            sources.append((places, images, offset))
        for number, ask in enumerate(asks):
            used = np.empty(len(ask.indices), np.int64)
            batch: Tensor | None = None
            for places, pictures, offset in sources:
                images, taken = next(pictures)
                if batch is None:
                    batch = images.new_empty((len(used), *images.shape[1:]))
                used[places[number]] = taken + offset
                batch[torch.from_numpy(places[number]).to(device)] = images
            assert batch is not None
            yield batch, used

    def select(self, indices: Any) -> Split:
        raise ValueError("select: a blend has no selections; select from its parts, then blend")

    def picture(self, index: int, size: int | None = None) -> np.ndarray:
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


@dataclass(frozen=True)
class Data:
    """A data set to train on.

    minival   held out of the training images, to choose by; None where not asked for.
    settings  plain data for records: where from, how split, how many, digests.
    skipped   names of the files that could not be read.
    notes     what of the source is not used, and what was chosen, in lines for people.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    minival: Split | None
    test: Split | None
    settings: dict[str, Any]
    skipped: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load(
    text: str,
    *,
    minival: float = 0.1,
    seed: int = 0,
    channels: int = 3,
    root: str | Path | None = None,
    download: bool = True,
    test: bool = True,
    memory_limit: int = 2 * 1024**3,
    corrupt_limit: float = 0.01,
) -> Data:
    """The data set that `text` names.

    text           cifar10, cifar100, fashion-mnist, imagenet (torchvision's, kept under `root`);
                   imagefolder:DIR, parquet:DIR or FILE.zip, see `train.sources`. Options follow
                   a question mark, as in imagefolder:DIR?corrupt_limit=0.05, see `train.source`.
    minival        share of the training images, of each class, that is held out; 0 for none. Where
                   train, val and test all exist, val is the minival instead.
    seed           of all splitting: the same seed holds out the same images.
    channels       3 or 1 (grey).
    root           folder of named sets; $VBS_DATA or ~/.cache/vision-baseline-search/data.
    test           whether the test images are wanted; without them, loading is quicker.
    memory_limit   bytes. Images of one size that fit are kept in memory, others are streamed.
    corrupt_limit  largest share of unreadable files, where the text has none; they are skipped and
                   named.

    Raises ValueError, one line, for whatever is wrong with the text, the files or the numbers.
    """
    from train.source import parse
    from train.sources import find, held_out

    limit = parse(text).corrupt_limit(corrupt_limit)
    _check_load(minival, seed, channels)
    found = find(text, seed=seed, root=root, download=download)
    wanted = found if test else replace(found, test=None)
    splits, skipped = _read(wanted, channels, memory_limit, limit, text)
    how = found.how
    train, held = splits["train"], splits.get("val") if minival else None
    if minival and held is None:
        kept, taken = held_out(train.targets.numpy(), minival, seed, found.classes)
        train, held = train.select(kept), train.select(taken)
        how += f"; minival: a share of {minival:g} of each class of train, seed {seed}"
    tested = splits.get("test")
    settings = _settings(text, how, found.classes, train, held, tested)
    settings |= {"seed": seed, "minival": minival, "channels": channels, "skipped": len(skipped)}
    settings["digests"] = {
        name: listing.digest() for name, listing in found.listings().items() if listing
    }
    return Data(text, found.classes, train, held, tested, settings, tuple(skipped), found.notes)


def load_unlabelled(
    text: str,
    *,
    channels: int = 3,
    root: str | Path | None = None,
    download: bool = True,
    memory_limit: int = 2 * 1024**3,
    corrupt_limit: float = 0.01,
) -> Split:
    """Images without labels: every target is UNLABELLED until `with_targets`.

    text  a folder (of any depth), a FILE.zip, parquet:DIR (all its files), or a named set, of which
          the training images are taken. The rest as in `load`.
    """
    from train.reading import read
    from train.sources import find_unlabelled, unlabelled_source

    source = unlabelled_source(text)
    limit = source.corrupt_limit(corrupt_limit)
    _check_load(0.0, 0, channels)
    listing: Listing = find_unlabelled(text, root=root, download=download)
    options = {"memory_limit": memory_limit, "limit": limit, "text": str(source)}
    return read(listing, channels=channels, **options)[0]  # type: ignore[arg-type]


def _read(
    found: Found, channels: int, memory_limit: int, limit: float, text: str
) -> tuple[dict[str, Split], list[str]]:
    """The splits that there are, by name, and the files that they go without."""
    from train.reading import read

    splits: dict[str, Split] = {}
    skipped: list[str] = []
    for name, listing in found.listings().items():
        if listing is not None:
            split, bad = read(
                listing, channels=channels, memory_limit=memory_limit, limit=limit, text=text
            )
            memory_limit -= getattr(split, "nbytes", 0)
            splits[name] = split
            skipped += bad
    return splits, skipped


def _check_load(minival: float, seed: int, channels: int) -> None:
    if not 0 <= minival < 1:
        raise ValueError(f"minival: {minival!r} is not allowed; use a share from 0 to below 1")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: {seed!r} is not allowed; use an integer of at least 0")
    if channels not in (1, 3):
        raise ValueError(f"channels: {channels!r} is not allowed; use 3, or 1 for grey")


def _settings(
    text: str,
    how: str,
    classes: tuple[str, ...],
    train: Split,
    minival: Split | None,
    test: Split | None,
) -> dict[str, Any]:
    settings: dict[str, Any] = {"source": text, "split": how, "classes": len(classes)}
    for name, split in (("train", train), ("minival", minival), ("test", test)):
        if split is not None:
            counts = torch.bincount(split.targets, minlength=len(classes))
            lacking = [classes[index] for index in torch.nonzero(counts == 0).flatten().tolist()]
            settings[f"{name}_images"] = len(split)
            settings[f"{name}_stored"] = type(split).__name__
            if lacking:
                settings[f"{name}_lacks"] = lacking
    return settings
