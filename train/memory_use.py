"""Memory of a training run: how much it took, and which batch would have fitted."""

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
    """Most memory held so far, in MB (1e6 bytes): on a GPU by tensors, since `begin_run`; on a CPU
    by the process, since its start."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def begin_run(device: torch.device) -> None:
    """Before a training: on a GPU, forget the peak of those that the process had before; on a CPU
    see `keep_freed_memory`."""
    if device.type == "cpu":
        keep_freed_memory()
    else:
        torch.cuda.init()  # without it there are no statistics yet
        torch.cuda.reset_peak_memory_stats(device)


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep what tensors free for the next step; whether it does.

    glibc hands blocks of a few MB back to the system as soon as they are freed, and the next step
    gets them back page by page, each filled with zeros first: a sixth of the processor time of
    training small networks on a CPU. The process then stays as large as it was at its largest.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # as malloc.h numbers them
    settings = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def fitting_batch(
    network: nn.Module, *, batch: int, side: int, device: torch.device, precision: torch.dtype
) -> int:
    """A divisor of `batch`, at most half of it, with which a training step passes; 0 if none does.

    Tried, not computed: what a convolution needs beside its tensors is known to the library only.
    The next one tried is at most half as large. The network's statistics are left as they were.
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
    """Whether forward and backward of so many images fit into memory."""
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
