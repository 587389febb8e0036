"""Removes a temporary folder, and ends the processes that use it, once its owner has ended.

`vbs.temporary` starts this file as a small process of its own, without the packages of the
environment: a process that is killed cannot remove anything itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "VBS_TEMPORARY"  # environment variable: the folder that a process uses
LOOK = 0.2  # seconds between looks at processes
ENDING = 10.0  # seconds within which killed processes are gone


def processes_of(folder: str) -> list[int]:
    """Numbers of the processes, but this one, that were started with the folder in MARK.

    Ray's agents write their title over their environment. They are found by their open files.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        if int(place.name) != os.getpid() and (_marked(place, folder) or _writes(place, folder)):
            found.append(int(place.name))
    return found


def _marked(place: Path, folder: str) -> bool:
    mark = os.fsencode(f"{MARK}={folder}")
    try:
        return mark in (place / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False


def _writes(place: Path, folder: str) -> bool:
    """Whether the process has its output in the folder, or, one of Ray's, any open file there."""
    with contextlib.suppress(OSError):
        ray = (place / "cmdline").read_bytes().startswith(b"ray::")
        for number in os.listdir(place / "fd") if ray else ("1", "2"):
            with contextlib.suppress(OSError):
                if os.readlink(place / "fd" / number).startswith(f"{folder}/"):
                    return True
    return False


def remove(folder: str) -> None:
    """Kill the processes that use the folder, and remove it."""
    end = time.monotonic() + ENDING
    while (left := processes_of(folder)) and time.monotonic() < end:
        for number in left:
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)
        time.sleep(LOOK)
    shutil.rmtree(folder, ignore_errors=True)


def wait_for_end(parent: int) -> None:
    """Until the process that started this one has ended."""
    with contextlib.suppress(AttributeError, OSError):  # no Linux, or too old
        descriptor = os.pidfd_open(parent)
        if os.getppid() == parent:
            select.select([descriptor], [], [])
    while os.getppid() == parent:
        time.sleep(LOOK)


if __name__ == "__main__":
    wait_for_end(int(sys.argv[2]))
    remove(sys.argv[1])
