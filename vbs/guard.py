"""Guard process that removes a temporary folder, and its processes, after its owner has ended.

`vbs.temporary` runs this file as a separate small process without the packages of the environment,
because a killed process cannot remove its own folder.
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
LOOK = 0.2  # seconds between checks of the processes
ENDING = 10.0  # seconds to wait for killed processes


def processes_of(folder: str) -> list[int]:
    """Return the IDs of all other processes that were started with the folder in MARK.

    Ray's agents overwrite their environment with their title; their open files identify them.
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
    except OSError:  # the process has ended, or belongs to another user
        return False


def _writes(place: Path, folder: str) -> bool:
    """Return whether stdout, stderr or, for a Ray process, any open file is in the folder."""
    with contextlib.suppress(OSError):
        ray = (place / "cmdline").read_bytes().startswith(b"ray::")
        for number in os.listdir(place / "fd") if ray else ("1", "2"):
            with contextlib.suppress(OSError):
                if os.readlink(place / "fd" / number).startswith(f"{folder}/"):
                    return True
    return False


def remove(folder: str) -> None:
    """Kill the processes that use the folder, and remove the folder."""
    end = time.monotonic() + ENDING
    while (left := processes_of(folder)) and time.monotonic() < end:
        for number in left:
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)
        time.sleep(LOOK)
    shutil.rmtree(folder, ignore_errors=True)


def wait_for_end(parent: int) -> None:
    """Wait until the parent process has ended."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or too old
        descriptor = os.pidfd_open(parent)
        if os.getppid() == parent:
            select.select([descriptor], [], [])
    while os.getppid() == parent:
        time.sleep(LOOK)


if __name__ == "__main__":
    wait_for_end(int(sys.argv[2]))
    remove(sys.argv[1])
