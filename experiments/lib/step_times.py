"""Time of the parts of a training: images, forward and backward pass, optimizer, the rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from train.data import Data, Step
from train.data.augment import Augmentation, Preparation
from train.data.in_memory import MemorySplit

DATA, PASSES, OPTIMIZER, REST = "data", "forward_backward", "optimizer", "evaluation"


class StepTimes:
    """Seconds of the parts of all steps of this process; on a CPU, where nothing is queued."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((DATA, PASSES, OPTIMIZER), 0.0)
        self._began = self._last = time.perf_counter()

    def end(self, part: str) -> None:
        """Add the time since the last call to a part; "" adds it to none."""
        now = time.perf_counter()
        if part:
            self.seconds[part] += now - self._last
        self._last = now

    def shares(self) -> dict[str, float]:
        """Return the share of each part of the time since the beginning.

        The share of the evaluation includes all that is outside the steps: the start, checkpoints.
        """
        whole = time.perf_counter() - self._began
        shares = {part: seconds / whole for part, seconds in self.seconds.items()}
        shares[REST] = 1.0 - sum(shares.values())
        return {part: round(share, 4) for part, share in shares.items()}


class _TimedSplit(MemorySplit):
    """A split whose batches are timed."""

    def __init__(self, split: MemorySplit, times: StepTimes) -> None:
        super().__init__(split.pixels, split.targets, split.rows)
        self._times = times

    def batches(
        self,
        steps: Sequence[Step],
        augmentation: Augmentation | Preparation,
        *,
        device: str | torch.device = "cpu",
        workers: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split.batches`."""
        batches = super().batches(steps, augmentation, device=device, workers=workers)
        while True:
            self._times.end("")
            batch = next(batches, None)
            self._times.end(DATA)
            if batch is None:
                return
            yield batch


@contextlib.contextmanager
def timed_steps(data: Data) -> Iterator[tuple[Data, StepTimes]]:
    """Return data to train on, and the times of the steps of one training on them.

    data  with training images in memory, on a CPU.
    """
    assert isinstance(data.train, MemorySplit)
    times = StepTimes()
    handles = (
        register_optimizer_step_pre_hook(lambda *_: times.end(PASSES)),
        register_optimizer_step_post_hook(lambda *_: times.end(OPTIMIZER)),
    )
    try:
        yield replace(data, train=_TimedSplit(data.train, times)), times
    finally:
        for handle in handles:
            handle.remove()
