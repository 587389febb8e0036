"""Test helper: finds and kills processes of the Ray that a command has started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def descendants(process: int) -> dict[int, str]:
    """Return numbers and command lines of a process's children, their children and so on."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # the process has ended
        parents.setdefault(parent, []).append(int(place.name))
    found, left = {}, list(parents.get(process, []))
    while left:
        number = left.pop()
        try:
            words = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        found[number] = words.replace(b"\0", b" ").decode()
        left += parents.get(number, [])
    return found


def kill_one(process: int, name: str) -> dict[int, str]:
    """Send SIGKILL to the Ray process of that name ("raylet", "gcs_server").

    Returns all Ray processes that ran before.
    """
    known = descendants(process)
    (number,) = [
        number for number, words in known.items() if words.split(" ", 1)[0].endswith(f"/{name}")
    ]
    os.kill(number, signal.SIGKILL)
    return known


def all_end(numbers: dict[int, str], seconds: float = 20.0) -> bool:
    """Return whether all those processes end in that time."""
    end = time.monotonic() + seconds
    while left := [number for number in numbers if _lives(number)]:
        if time.monotonic() > end:
            print({number: numbers[number] for number in left})
            return False
        time.sleep(0.1)
    return True


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
