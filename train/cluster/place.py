"""Where jobs run."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where jobs run: `slots` at once, each on so many processors and GPUs.

    cpus     of a slot, also its number of threads.
    gpus     of a slot; may be a fraction.
    address  of a Ray cluster, as in `train.cluster.connect.connect`; None for this machine.
    """

    slots: int
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None
