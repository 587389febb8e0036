"""Memory of a training run: its peak, and the batch that fits."""

from __future__ import annotations

import ctypes
import functools
import resource
import sys

import torch
from torch import nn
from torch.nn import functional as F

from vbs.failures import is_out_of_memory


def peak_megabytes(device: torch.device) -> float:
    """Return the peak memory in MB (1e6 bytes).

    On a GPU: of tensors, since `begin_run`. On a CPU: of the process, since its start.
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def begin_run(device: torch.device) -> None:
    """Prepare memory for a training: reset the peak of a GPU, or call `keep_freed_memory`."""
    if device.type == "cpu":
        keep_freed_memory()
    else:
        torch.cuda.init()  # without it there are no statistics yet
        torch.cuda.reset_peak_memory_stats(device)


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step; return whether this is in effect.

    glibc returns blocks of a few MB to the system as soon as they are freed. The next step gets
    them back page by page, each filled with zeros: a sixth of the processor time of training small
    networks on a CPU. With this setting the process stays as large as its peak.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # constants of malloc.h
    settings = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def fitting_batch(
    network: nn.Module, *, batch: int, side: int, device: torch.device, precision: torch.dtype
) -> int:
    """Return a divisor of `batch`, at most half of it, with which a step fits; 0 if none fits.

    Sizes are tried because the memory of a convolution depends on the library. Each size is at
    most half of the one before. The network's statistics are restored.
    """
    kept = {name: value.clone() for name, value in network.named_buffers()}
    divisors = [part for part in range(batch // 2, 0, -1) if batch % part == 0]
    while divisors:
        part = divisors[0]
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if _passes(network, part, side, device, precision):
            break
        divisors = [smaller for smaller in divisors if smaller <= max(1, part // 2) < part]
    network.load_state_dict(kept, strict=False)
    return divisors[0] if divisors else 0


def _passes(
    network: nn.Module, batch: int, side: int, device: torch.device, precision: torch.dtype
) -> bool:
    """Return whether the forward and backward pass of a batch fit into memory."""
    try:
        images = torch.zeros(batch, network.architecture.in_channels, side, side, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = network(images)
        targets = torch.zeros(batch, dtype=torch.int64, device=device)
        F.cross_entropy(logits.float(), targets).backward()
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        network.zero_grad()
    return True
