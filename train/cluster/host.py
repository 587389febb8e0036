"""Pools of Ray workers for searches. A child process holds the connection to Ray.

If the cluster is lost, the process of the search gets an exception instead of being ended.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from train.cluster.connect import connect, disconnect, is_connected, node_resources
from train.cluster.place import Place
from train.cluster.pool import Job, Pool, PoolLost
from train.cluster.process import RayLost, RayProcess
from train.cluster.worker import Item

SILENCE = 120.0  # seconds without an answer after which a cluster counts as lost


class AnyPool(Protocol):
    """The common interface of `Pool` and `HostedPool`."""

    @property
    def free(self) -> int:
        """Number of slots that are set up and idle."""

    def start(self, number: int, payload: Any) -> None:
        """See `Pool.start`."""

    def wait(self, seconds: float) -> list[tuple[int, Item]]:
        """See `Pool.wait`."""

    def stop(self, number: int) -> None:
        """See `Pool.stop`."""

    def close(self) -> None:
        """See `Pool.close`."""


class HostedPool:
    """A `Pool` in a child process; raises PoolLost if that process, or Ray, has ended.

    Arguments and methods are those of `Pool`.
    """

    def __init__(
        self,
        make: Callable[[], Job],
        place: Place,
        *,
        timeout: float | None = None,
        retries: int = 1,
    ) -> None:
        from ray import cloudpickle

        made = functools.partial(_unpickled, cloudpickle.dumps(make))
        options = {"timeout": timeout, "retries": retries}
        try:
            self._process = RayProcess(_served, made, place, address=place.address, **options)
        except RayLost as error:
            raise PoolLost(str(error)) from None
        self._free, self._requested = 0, False

    @property
    def free(self) -> int:
        """Number of slots that were set up and idle at the last `wait`."""
        return self._free

    def start(self, number: int, payload: Any) -> None:
        """Run the function on the payload in a free slot; raise ValueError if there is none."""
        if self._free < 1:
            raise ValueError(f"job {number}: no slot is free; wait until one is")
        self._free -= 1
        self._process.send("start", number, payload)

    def wait(self, seconds: float) -> list[tuple[int, Item]]:
        """Return new items of the jobs; see `Pool.wait`."""
        if not self._requested:
            self._process.request("items", seconds)
            self._requested = True  # until the answer, also if Ctrl-C interrupts the wait
        try:
            items, self._free = self._process.result(seconds + SILENCE)
        except RayLost as error:
            raise PoolLost(str(error)) from None
        except TimeoutError:
            raise PoolLost(f"the cluster does not answer ({SILENCE:g} s of silence)") from None
        self._requested = False
        return items

    def stop(self, number: int) -> None:
        """End a job; see `Pool.stop`."""
        self._process.send("stop", number)

    def close(self) -> None:
        """End all slots, and Ray itself if it was started here; may be called twice."""
        self._process.close()


class _Served(Pool):
    """The pool inside the child process."""

    def items(self, seconds: float) -> tuple[list[tuple[int, Item]], int]:
        """Return the items of `wait`, and the number of free slots."""
        return self.wait(seconds), self.free


def _served(make: Callable[[], Job], place: Place, *, address: str, **limits: Any) -> _Served:
    return _Served(make, place._replace(address=address), **limits)


def _unpickled(make: bytes) -> Job:
    """Return the result of the driver's `make`, in a worker's process.

    `make` is unpickled only here, so that the child process that holds the pool need not import its
    modules.
    """
    from ray import cloudpickle

    return cloudpickle.loads(make)()


def open_pool(
    make: Callable[[], Job], place: Place, *, timeout: float | None = None, retries: int = 1
) -> AnyPool:
    """Return a pool; losing its cluster does not end this process. See `Pool` for arguments.

    If this process is already connected to Ray, that connection is used.
    """
    pool = Pool if is_connected() else HostedPool
    return pool(make, place, timeout=timeout, retries=retries)


def cluster_resources(address: str) -> list[dict[str, float]]:
    """Return the resources of each living node of the cluster, as `node_resources` does."""
    if is_connected():
        return node_resources()
    with RayProcess(_Look, address=address) as process:
        return process.call("resources")


class _Look:
    """A connection to query a cluster."""

    def __init__(self, address: str) -> None:
        self._connected = connect(address)

    def resources(self) -> list[dict[str, float]]:
        return node_resources()

    def close(self) -> None:
        if self._connected:
            disconnect()
