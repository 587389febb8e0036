"""Several processes, one for each device, that train one network together (torchrun, DDP).

Every process runs the same program. What differs between them is their `World`: which share of
each step's images is theirs, and that only the first one writes and prints.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

from vbs.processes import available_cpus


@dataclass(frozen=True)
class World:
    """This process among `size` ones, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files and prints."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum of the processes' values, which must have equal shapes."""
        if self.size > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values

    def equalise(self, network: nn.Module) -> None:
        """Give every process the first one's buffers: batch-norm statistics are each its own."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def met(self) -> bool:
        """Wait until all are here; False where one of them has ended instead."""
        try:
            self.wait()
        except RuntimeError:
            return False
        return True

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def world(device: str = "auto") -> Iterator[World]:
    """The processes that torchrun started, connected; a world of one where it was not used.

    device  "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N". ValueError where it does
            not exist.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    chosen = pick_device(device, local)
    if size == 1 or dist.is_initialized():
        yield World(rank, size, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


def pick_device(device: str, local: int = 0) -> torch.device:
    """The device of that name for the `local`-th process of a machine.

    For a CPU the threads of torch are limited to the available processors.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device: {device!r} is unknown; use auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        index = local if chosen.index is None else chosen.index
        if index >= count:
            raise ValueError(f"device: {device!r} is not there; this machine has {count} GPUs")
        return torch.device("cuda", index)
    if chosen.type == "cpu":
        limit_threads()
    else:
        raise ValueError(f"device: {device!r} is not supported; use auto, cpu, cuda or cuda:N")
    return chosen


def limit_threads() -> None:
    """Let torch use no more threads than processors are available to this process.

    torch counts those of the affinity when it is imported, and ignores the quota of a container:
    64 threads on 2 processors wait for each other most of the time. Where OMP_NUM_THREADS is set,
    it decides.
    """
    available = available_cpus()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > available:
        torch.set_num_threads(available)
