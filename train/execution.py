"""The device, worker processes and checkpoints of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Settings that affect the duration of a training but not its result.

    device      "auto", "cpu", "cuda" or "cuda:N"; see `train.distributed.pick_device`.
    loaders     processes that decode and augment streamed images; 0: the training process.
    checkpoint  folder of `last.safetensors` and `best.safetensors`; a run found there is resumed.
                None: nothing is written.
    """

    device: str = "auto"
    loaders: int = 0
    checkpoint: Path | None = None


DEFAULT = Execution()
