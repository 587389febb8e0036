"""Ray in a child process: losses, hangs and exits of the child raise an exception in the parent."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from tests.train.cluster import pool_jobs
from tests.train.cluster.ray_processes import all_end, kill_one
from train.cluster import process as ray_process
from train.cluster.host import HostedPool, open_pool
from train.cluster.place import Place
from train.cluster.pool import PoolLost
from train.cluster.process import RayLost, RayProcess
from train.cluster.worker import Ended, Yielded

PATIENCE = 90.0


class Thing:
    """An object for the child process that needs no Ray."""

    def __init__(self, *, address: str | None) -> None:
        if address == "127.0.0.1:1":
            raise ValueError(f"address: {address} is wrong")
        if address == "sleepy":
            time.sleep(60)

    def double(self, number: int) -> int:
        return 2 * number

    def fail(self) -> None:
        raise FileNotFoundError(2, "No such file", "some/path")

    def sleep(self) -> None:
        time.sleep(60)

    def end(self) -> None:
        os._exit(1)

    def close(self) -> None:
        pass


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the child process work without a connection to Ray."""
    monkeypatch.setattr(ray_process, "probe", lambda address: None)
    alone = "import train.cluster.process as p; p._node_processes = list; serve("
    monkeypatch.setattr(ray_process, "START", ray_process.START.replace("serve(", alone, 1))


def test_methods_answer_and_raise_as_here(no_ray: None) -> None:
    with RayProcess(Thing, address=None) as process:
        assert process.call("double", 21) == 42
        process.send("double", 1)  # without an answer
        with pytest.raises(FileNotFoundError, match="some/path"):
            process.call("fail")
        process.request("double", 4)
        assert process.result(PATIENCE) == 8


def test_a_mistake_in_the_child_is_one_here(no_ray: None) -> None:
    with pytest.raises(ValueError, match=r"address: 127\.0\.0\.1:1 is wrong"):
        RayProcess(Thing, address="127.0.0.1:1")


def test_a_connection_that_takes_for_ever_has_a_limit(no_ray: None, monkeypatch) -> None:
    monkeypatch.setattr(ray_process, "CONNECTED", 1.0)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"address: sleepy cannot be used \(not connected after 1"):
        RayProcess(Thing, address="sleepy")
    assert time.monotonic() - began < 5


def test_a_child_that_ends_is_an_exception(no_ray: None) -> None:
    with RayProcess(Thing, address=None) as process:
        with pytest.raises(RayLost, match="Ray has ended on this machine: one of its processes"):
            process.call("end")
        process.send("double", 1)  # nothing listens there
        with pytest.raises(RayLost):
            process.call("double", 1)


def test_an_interrupt_is_raised_there_too(no_ray: None) -> None:
    with RayProcess(Thing, address=None) as process:
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            process.call("sleep")
        assert process.call("double", 3) == 6
    assert time.monotonic() - began < 10


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_pool_whose_ray_is_killed_is_lost_soon_and_leaves_nothing(name: str) -> None:
    pool = open_pool(pool_jobs.make, Place(1))
    assert isinstance(pool, HostedPool)
    end = time.monotonic() + PATIENCE
    while pool.free < 1:
        assert time.monotonic() < end
        pool.wait(1.0)
    pool.start(7, ("count", 1))
    items: list[Any] = []
    while len(items) < 2:
        items += pool.wait(1.0)
    assert items == [(7, Yielded(0)), (7, Ended(""))]
    pool.start(8, ("sleep", 3600))
    assert pool.wait(0.1) == []
    with pytest.raises(ValueError, match="job 9: no slot is free"):
        pool.start(9, ("sleep", 1))
    known = kill_one(pool._process._child.pid, name)
    with pytest.raises(PoolLost, match="Ray has ended on this machine"):
        pool.wait(20.0)
    with pytest.raises(PoolLost):
        pool.wait(1.0)
    pool.close()
    pool.close()
    assert all_end(known)
