"""The lease of a results store, which lets only one process at a time train its trials."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from train.ray_tune.store import Store
from vbs import lock
from vbs.folder import status_after

COMMAND = "train.ray_tune"
FAR = 3.0  # seconds that a process may take between reading a URL and writing to it


@contextlib.contextmanager
def owned(store: Store) -> Iterator[None]:
    """Hold the lease of the store inside the block; raise ValueError if another process holds it.

    A folder is locked by `vbs.lock.owned`. Storages behind a URL have no atomic creation of files,
    so if several processes start together, the last one that wrote the lease keeps it.
    """
    if store.local is not None:
        store.local.mkdir(parents=True, exist_ok=True)
        with lock.owned(store.local, COMMAND), status_after(store.local / "run.json"):
            yield
        return
    known = store.read(lock.FILE)
    if known is not None and lock.is_alive(known, age := _age(known)):
        raise lock.in_use(store.place, known, age)
    mine = lock.this_process(COMMAND)
    store.write(lock.FILE, {**mine, "beat": time.time()})
    time.sleep(FAR)  # processes that read the lease before have written by now
    now = store.read(lock.FILE) or mine
    if now.get("id") != mine["id"]:
        raise lock.in_use(store.place, now, _age(now))
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(store, mine, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(lock.BEAT)
        with contextlib.suppress(OSError, ValueError):
            if (store.read(lock.FILE) or {}).get("id") == mine["id"]:
                store.remove(lock.FILE)


def _age(owner: Mapping[str, Any]) -> float:
    """Return the seconds since the owner last renewed its lease."""
    beat = owner.get("beat")
    return time.time() - beat if isinstance(beat, int | float) else float("inf")


def _beat(store: Store, mine: Mapping[str, Any], over: threading.Event) -> None:
    while not over.wait(lock.BEAT):
        # a storage that is unavailable for a while does not end the run
        with contextlib.suppress(OSError, ValueError):
            known = store.read(lock.FILE) or mine
            if known.get("id") != mine["id"]:  # taken over, e.g. while this machine slept
                lock.give_up(COMMAND, store.place, known)
                return
            store.write(lock.FILE, {**mine, "beat": time.time()})
