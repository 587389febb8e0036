"""The place where jobs run: number of slots, resources and cluster."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """The number of concurrent jobs (`slots`), their resources, and the cluster.

    cpus     processors of a slot, also its number of threads.
    gpus     GPUs of a slot; may be a fraction.
    address  address of a Ray cluster, as in `train.cluster.connect.connect`; None: this machine.
    """

    slots: int
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None
