"""Small arrays of numbers on the device, without waiting for it."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Return the array as a tensor on the device.

    A copy from pageable memory to a GPU blocks until the GPU has finished all queued work; the GPU
    is then idle until more work is queued. A copy from page-locked memory does not block. torch
    keeps such memory until the copy is done.
    """
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@functools.lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the numbers as float32 [n, 1, 1] on the device; they are copied once.

    The caller must not change the tensor.
    """
    with torch.inference_mode(False):  # valid in every mode, whatever the mode of the first call
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
