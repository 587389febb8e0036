"""Memory of a training run: how much it took, and which batch would have fitted."""

from __future__ import annotations

import resource
import sys

import torch
from torch import nn
from torch.nn import functional as F


def peak_megabytes(device: torch.device) -> float:
    """Most memory held so far, in MB (1e6 bytes): by tensors on a GPU, by the process on a CPU."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def fitting_batch(
    network: nn.Module, *, batch: int, side: int, device: torch.device, precision: torch.dtype
) -> int:
    """The largest of batch / 2, batch / 4, ... with which a training step passes; 0 if none does.

    Tried, not computed: what a convolution needs beside its tensors is known to the library only.
    """
    while batch > 1:
        batch //= 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            images = torch.zeros(batch, network.architecture.in_channels, side, side, device=device)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                logits = network(images)
            targets = torch.zeros(batch, dtype=torch.int64, device=device)
            F.cross_entropy(logits.float(), targets).backward()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        finally:
            network.zero_grad()
        return batch
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; torch's CPU allocator has no class for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
