"""Progress within epochs: trials report their steps to an actor, which the main process reads.

Ray Tune gets one report of a trial per epoch and decides on early stopping by it. Steps are only
for the display, so their reports may be lost.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

EVERY = 2.0  # seconds between reports of a trial
ANSWER = 5.0  # seconds to wait for the actor


class Steps:
    """The actor: for each trial, the optimizer steps done and the total."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[int, int]] = {}

    def put(self, name: str, step: int, steps: int) -> None:
        """Store that step `step` of `steps` of a trial is done."""
        self._steps[name] = step, steps

    def get(self) -> dict[str, tuple[int, int]]:
        """Return the steps of all trials."""
        return self._steps


def start() -> Any:
    """Start an actor on this node; return a handle for the trials and the main process."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor = ray.remote(Steps).options(num_cpus=0, scheduling_strategy=here, max_restarts=-1)
    return actor.remote()


def read(steps: Any) -> dict[str, tuple[int, int]]:
    """Return the steps from the actor; {} if it does not answer."""
    import ray

    with contextlib.suppress(Exception):  # errors of Ray: the cluster may be lost or ending
        return ray.get(steps.get.remote(), timeout=ANSWER)
    return {}


class Sender:
    """A sender of a trial's steps, at most once in `EVERY` seconds."""

    def __init__(self, steps: Any, name: str) -> None:
        self._steps, self._name, self._next = steps, name, 0.0

    def __call__(self, step: int, steps: int) -> None:
        """Report an optimizer step without waiting."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        with contextlib.suppress(Exception):
            self._steps.put.remote(self._name, step, steps)
