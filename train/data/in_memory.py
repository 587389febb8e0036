"""Images of one size as one tensor in memory, augmented on the training device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.data.augment import Augmentation, Draws, Preparation, frame, one_thread, recolour
from train.data.split import ImageRequest, Split
from train.data.stores import Store
from train.data.transfer import on_device


class Pixels:
    """uint8 images [n, c, h, w], copied once to each device; shared by selections.

    origin  store that they were decoded from, and their rows in it, int64 [n]; None if they have
            no names.
    """

    def __init__(self, images: Tensor, origin: tuple[Store, np.ndarray] | None = None) -> None:
        assert images.dtype == torch.uint8
        assert images.ndim == 4
        self.images, self.origin = images, origin
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """Return the images on a device; they are copied there on the first call."""
        device = torch.empty(0, device=device).device  # resolves "cuda" to a numbered device
        if device == self.images.device:
            return self.images
        if device not in self._copies:
            self._copies[device] = self.images.to(device)
        return self._copies[device]

    def __getstate__(self) -> dict[str, Any]:
        # as an array: Ray's object store shares the memory of arrays but copies tensors
        return {"images": self.images.numpy(), "origin": self.origin}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            # shared memory is read-only; images are never written
            warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
            self.images = torch.from_numpy(state["images"])
        self.origin = state["origin"]
        self._copies = {}


class MemorySplit(Split):
    """A split of images in memory; it does not use `workers`.

    images   uint8 [m, c, h, w], or the Pixels of another split.
    targets  int64 [n] or float32 [n, classes].
    rows     image of each target, int64 [n]; None: all in order.
    """

    def __init__(
        self, images: Tensor | Pixels, targets: Tensor, rows: np.ndarray | None = None
    ) -> None:
        self.pixels = images if isinstance(images, Pixels) else Pixels(images)
        self.targets = targets
        self.rows = np.arange(len(self.pixels.images)) if rows is None else rows
        assert len(self.rows) == len(targets)

    @property
    def nbytes(self) -> int:
        """Size of the images in memory in bytes, shared or not."""
        return self.pixels.images.untyped_storage().nbytes()

    def pictures(
        self,
        requests: Sequence[ImageRequest],
        how: Augmentation | Preparation,
        *,
        device: torch.device,
        workers: int,
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """See `Split.pictures`."""
        images = self.pixels.on(device)
        for request in requests:
            rows = on_device(self.rows[request.indices], device)
            with one_thread():
                framed = frame(images.index_select(0, rows), how, request.draws)
                batch = recolour(framed, how, request.draws)
            yield batch, request.indices

    def select(self, indices: Any) -> MemorySplit:
        """See `Split.select`."""
        chosen = np.asarray(indices, np.int64)
        return MemorySplit(self.pixels, self.targets[torch.from_numpy(chosen)], self.rows[chosen])

    def name(self, index: int) -> str | None:
        """See `Split.name`."""
        if self.pixels.origin is None:
            return None
        store, rows = self.pixels.origin
        return store.name(int(rows[self.rows[index]]))

    def picture(self, index: int, size: int | None = None) -> np.ndarray:
        """See `Split.picture`."""
        return to_picture(self.pixels.images[int(self.rows[index])], size)


def to_picture(image: Tensor, size: int | None) -> np.ndarray:
    """Convert uint8 [c, h, w] to uint8 [h, w, 3], cropped and resized to a square of `size`."""
    if size is not None:
        image = frame(image[None], Preparation(size=size), Draws(0, np.zeros(1, np.int64)))[0]
    return image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
