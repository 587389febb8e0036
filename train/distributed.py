"""Distributed training: one process for each device trains the same network (torchrun, DDP).

All processes run the same program and differ only in their `World`. Each process trains on its own
share of the images of a step, and only the first process writes files and prints.
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
    """The rank of this process among `size` processes, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of the values of all processes, which must have equal shapes."""
        if self.size > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values

    def equalise(self, network: nn.Module) -> None:
        """Copy the first process's buffers, such as batch-norm statistics, to all processes."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def met(self) -> bool:
        """Wait for all processes; return False if one of them has ended instead."""
        try:
            self.wait()
        except RuntimeError:
            return False
        return True

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def world(device: str = "auto") -> Iterator[World]:
    """Connect the processes that torchrun started; a world of one process without torchrun.

    device  "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N". Raises ValueError if it
            does not exist.
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
    """Return the device of that name for the `local`-th process of a machine.

    On a CPU, torch's threads are limited to the available processors. Raises ValueError if the
    device is unknown or does not exist.
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
            raise ValueError(f"device: {device!r} does not exist; this machine has {count} GPUs")
        return torch.device("cuda", index)
    if chosen.type == "cpu":
        limit_threads()
    else:
        raise ValueError(f"device: {device!r} is not supported; use auto, cpu, cuda or cuda:N")
    return chosen


def limit_threads() -> None:
    """Limit torch's threads to the processors that are available to this process.

    torch counts the processors of the affinity at import and ignores the quota of a container; 64
    threads on 2 processors wait for each other most of the time. OMP_NUM_THREADS, if set, takes
    precedence.
    """
    available = available_cpus()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > available:
        torch.set_num_threads(available)
