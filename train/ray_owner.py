"""One driver for each place of results: a second one would train the same trials again."""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from train.ray_store import Store
from vbs import processes

FILE = "driver.json"
BEAT = 20.0  # seconds between signs of life
FORGOTTEN = 120.0  # seconds without one, after which a driver on another machine counts as dead
SETTLING, FAR = 0.3, 3.0  # seconds from a look at a folder, at a URL, to what is written after it


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
    mine = {
        "host": socket.gethostname(), "processes": processes.place(), "pid": os.getpid(),
        "began": processes.start(os.getpid()), "id": uuid.uuid4().hex,
    }  # fmt: skip
    over = threading.Event()
    store.write(FILE, {**mine, "beat": time.time()})
    # whoever looked before that has written by now: of several, the last one stays
    time.sleep(SETTLING if store.local is not None else FAR)
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
            known = store.read(FILE) or mine
            if known.get("id") != mine["id"]:  # this machine slept, say, and was given up
                print(f"train.ray_tune: process {known.get('pid')} on {known.get('host')} works in "
                      f"{store.place} now; this one ends", file=sys.stderr)  # fmt: skip
                _thread.interrupt_main()
                return
            store.write(FILE, {**mine, "beat": time.time()})


def _alive(known: Mapping[str, Any]) -> float | None:
    """Seconds since the driver's last sign of life; None where it is dead."""
    beat, pid = known.get("beat"), known.get("pid")
    if not isinstance(beat, int | float) or not isinstance(pid, int):
        return None
    age = max(0.0, time.time() - beat)
    if processes.place() and known.get("processes") == processes.place():
        began = processes.start(pid)
        if began:  # else nobody can tell
            return age if known.get("began") == began else None
    return age if age < FORGOTTEN else None
