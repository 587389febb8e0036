"""Test helper: jobs for tests of the worker pool, in a module that the workers can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

set_up = 0


def make() -> Any:
    """Return the job function, and count the calls in this process."""
    global set_up
    set_up += 1
    return job


def broken() -> Any:
    raise OSError("no such data")


def job(payload: tuple[Any, ...]) -> Iterator[Any]:
    return JOBS[payload[0]](*payload[1:])


def count(last: int, seconds: float = 0.0, trace: str | None = None) -> Iterator[Any]:
    try:
        for number in range(last):
            time.sleep(seconds)
            yield number
    finally:
        if trace is not None:
            Path(trace).write_text("closed")


def sleep(seconds: float) -> Iterator[Any]:
    time.sleep(seconds)
    yield seconds


def fail(text: str) -> Iterator[Any]:
    yield "begun"
    raise RuntimeError(text)


def full_disk(mark: str, times: int) -> Iterator[Any]:
    """Raises "disk full" the first `times` times that it runs."""
    with open(mark, "a") as file:
        file.write("x")
    yield "begun"
    if len(Path(mark).read_text()) <= times:
        raise OSError(28, "No space left on device", "/full/last.safetensors")
    yield "written"


def process() -> Iterator[Any]:
    yield os.getpid(), set_up, os.environ["OMP_NUM_THREADS"]


def die(mark: str, times: int) -> Iterator[Any]:
    """Kills its process the first `times` times that it runs."""
    with open(mark, "a") as file:
        file.write("x")
    yield "begun"
    if len(Path(mark).read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    yield "survived"


def die_late(seconds: float) -> Iterator[Any]:
    """Kills its process after some time in which it yields nothing."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
    yield "never"


def unpicklable() -> Iterator[Any]:
    yield (item for item in ())


JOBS = {
    "count": count,
    "sleep": sleep,
    "fail": fail,
    "process": process,
    "die": die,
    "unpicklable": unpicklable,
    "die_late": die_late,
    "full_disk": full_disk,
}
