"""One driver for each place of results: a second one would train the same trials again."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from train.ray_store import Store

FILE = "driver.json"
BEAT = 20.0  # seconds between signs of life
FORGOTTEN = 120.0  # seconds without one, after which a driver on another machine counts as dead


@contextlib.contextmanager
def owned(store: Store) -> Iterator[None]:
    """The store is this process's meanwhile; ValueError where another driver works there."""
    known = store.read(FILE)
    if known is not None and (age := _alive(known)) is not None:
        raise ValueError(
            f"out: another train.ray_tune works in {store.place} (process {known.get('pid')} on "
            f"{known.get('host')}, {age:.0f} s ago); wait until it ends, or choose another --out. "
            f"One that died on another machine is forgotten after {FORGOTTEN:.0f} s"
        )
    mine = {**_here(), "pid": os.getpid(), "began": _began(os.getpid()), "id": uuid.uuid4().hex}
    over = threading.Event()
    store.write(FILE, {**mine, "beat": time.time()})
    if (store.read(FILE) or mine).get("id") != mine["id"]:
        raise ValueError(f"out: another train.ray_tune began in {store.place} at the same time")
    thread = threading.Thread(target=_beat, args=(store, mine, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(BEAT)
        with contextlib.suppress(OSError, ValueError):
            if (store.read(FILE) or {}).get("id") == mine["id"]:
                store.remove(FILE)


def _beat(store: Store, mine: Mapping[str, Any], over: threading.Event) -> None:
    while not over.wait(BEAT):
        # a storage that is away for a while is no reason to end
        with contextlib.suppress(OSError, ValueError):
            if (store.read(FILE) or mine).get("id") == mine["id"]:
                store.write(FILE, {**mine, "beat": time.time()})


def _alive(known: Mapping[str, Any]) -> float | None:
    """Seconds since the driver's last sign of life; None where it is dead."""
    beat, pid = known.get("beat"), known.get("pid")
    if not isinstance(beat, int | float) or not isinstance(pid, int):
        return None
    age = max(0.0, time.time() - beat)
    here = _here()
    if here["boot"] and all(known.get(name) == value for name, value in here.items()):
        return age if known.get("began") == _began(pid) != "" else None
    return age if age < FORGOTTEN else None


def _here() -> dict[str, str]:
    """This machine, and the container in it: process numbers mean something in these alone."""
    boot, processes = "", ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = os.readlink("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "boot": boot, "processes": processes}


def _began(pid: int) -> str:
    """When a process of this machine began, in the system's own measure; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
