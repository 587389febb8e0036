"""Locks of results folders: only one process at a time writes to a folder.

The lock is a small JSON file that describes the owner. After the owner has ended, for whatever
reason, another process may take over the lock. An owner on the same machine is identified by
process ID and start time; an owner on another machine that shares the folder refreshes the time of
the file. Creation is atomic (a hard link, or exclusive creation on file systems without links),
also for processes that start together and for those that take over the same lock.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vbs import processes
from vbs.console import print_err
from vbs.text import printable, shortened

FILE = "owner.json"
UNSAFE = re.compile(r"[^\w-]", re.ASCII)  # characters that are replaced in file names
BEAT = 20.0  # seconds between heartbeats
FORGOTTEN = 120.0  # seconds without a heartbeat after which a remote owner counts as ended
WRITING = 5.0  # seconds for which a file without content counts as being written
TRIES, WAIT = 1000, 0.01  # attempts, and seconds between them, while others change the lock
# error numbers of os.link on file systems without hard links
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL, errno.EXDEV)

Owner = Mapping[str, Any]


def this_process(command: str) -> dict[str, Any]:
    """Return the description of this process for the lock file."""
    return {
        "command": command,
        "host": socket.gethostname(),
        "processes": processes.place(),
        "pid": os.getpid(),
        "began": processes.start(os.getpid()),
        "id": uuid.uuid4().hex,
    }


def is_alive(owner: Owner, age: float) -> bool:
    """Return whether the owner is still running; age: seconds since its last heartbeat."""
    pid = owner.get("pid")
    if not isinstance(pid, int):
        return False
    if processes.place() and owner.get("processes") == processes.place():
        began = processes.start(pid)
        if began:  # "" means unknown
            return owner.get("began") == began
    return age < FORGOTTEN


def in_use(place: object, owner: Owner, age: float) -> ValueError:
    """Return the error for a folder that another process uses."""
    here = owner.get("processes") == processes.place()
    seen = ""
    if not here:
        seen = (
            f", last seen {max(0.0, age):.0f} s ago; after {FORGOTTEN:.0f} s without a heartbeat "
            "it counts as ended"
        )
    what = ("command", "another command"), ("pid", "?"), ("host", "an unknown machine")
    command, pid, host = (shortened(owner.get(name, usual), 80) for name, usual in what)
    return ValueError(
        f"out: {printable(place)} is in use by {command} (process {pid} on {host}{seen}); wait "
        "until it ends, or use another --out"
    )


@contextlib.contextmanager
def owned(folder: Path | None, command: str, *, name: str = FILE) -> Iterator[None]:
    """Lock the folder for this process inside the block.

    folder   None, or a folder that does not exist: nothing is locked.
    command  name of this process in error messages, such as nas.search.
    name     name of the lock file; another name locks a single file of a folder.

    Raises ValueError if another running process owns the folder, OSError if it cannot be written.
    """
    if folder is None or not folder.is_dir():
        yield
        return
    path, mine = folder / name, this_process(command)
    _take(path, mine)
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(path, mine, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        with contextlib.suppress(OSError):
            if _id(_read(path)) == mine["id"]:
                path.unlink()


def _take(path: Path, mine: Owner) -> None:
    """Acquire the lock; raises ValueError if its owner is running.

    Several processes may try to take over the lock of the same ended owner. The process that
    creates the claim, a file named by `_after` for that owner, gets the lock. It replaces the lock
    before it removes the claim. A process that creates the same claim later therefore finds another
    lock than the one it has read, and starts over.
    """
    own = _beside(path, mine["id"])
    if path.is_symlink() and not path.exists():
        raise ValueError(f"out: {printable(path)} is a broken symbolic link; remove it")
    try:
        own.write_text(json.dumps(mine) + "\n")
        for _ in range(TRIES):
            if _create(path, own) or _taken_over(path, own):
                return
            time.sleep(WAIT)
    finally:
        with contextlib.suppress(OSError):
            own.unlink()
    raise ValueError(f"out: {path.parent} cannot be locked; other processes keep locking it")


def _taken_over(path: Path, own: Path) -> bool:
    """Return whether the lock was taken over from an ended owner.

    False if the lock is changing at this moment. Raises ValueError if the owner is running.
    """
    first = _read(path)
    if first is None:
        return False
    last, shown = _last(path, first)
    os.utime(own)  # by the clock of the file system, which may be that of another machine
    try:
        age = own.stat().st_mtime - shown.stat().st_mtime
    except FileNotFoundError:
        return False
    if not last and age < WRITING:
        return False
    if is_alive(last, age):
        raise in_use(path.parent, last, age)
    claim = _after(path, last)
    if not _create(claim, own):
        return False
    now = _read(path)
    if now is None or _id(now) != _id(first):
        claim.unlink(missing_ok=True)
        return False
    os.replace(own, path)
    _remove_claims(path, first, claim)
    return True


def _remove_claims(path: Path, first: Owner, claim: Path) -> None:
    """Remove the claims of processes that ended during a take-over, then our own claim."""
    owner: Owner | None = first
    while owner and _after(path, owner) != claim:
        after = _after(path, owner)
        owner = _read(after)
        after.unlink(missing_ok=True)
    claim.unlink(missing_ok=True)


def _last(path: Path, first: Owner) -> tuple[Owner, Path]:
    """Return the current owner and its file: the owner of the lock, or of the last claim."""
    owner, ended = first, path
    while owner and (later := _read(_after(path, owner))) is not None:
        owner, ended = later, _after(path, owner)
    return owner, ended


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f".{path.name}-{name}")


def _after(path: Path, owner: Owner) -> Path:
    return _beside(path, f"after-{_id(owner) or 'damaged'}")


def _id(owner: Owner | None) -> str:
    """Return the owner's identifier as a part of a file name."""
    return "" if owner is None else UNSAFE.sub("_", str(owner.get("id", "")))[:64]


def _read(path: Path) -> Owner | None:
    """Return the owner from a lock file; {} if it is damaged, None if there is no file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            return {}
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        known = None
    return known if isinstance(known, dict) else {}


def _create(path: Path, own: Path) -> bool:
    """Create `path` with the content of `own`; return False if `path` exists."""
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            with path.open("xb") as file:
                file.write(own.read_bytes())
        except FileExistsError:
            return False
    return True


def _beat(path: Path, mine: Owner, over: threading.Event) -> None:
    """Send heartbeats, and interrupt this process if another one has taken over its lock."""
    while not over.wait(BEAT):
        with contextlib.suppress(OSError):  # the disk may be unavailable for a while
            known = _read(path)
            if known is not None and _id(known) != mine["id"]:
                give_up(mine["command"], path.parent, known)
                return
            os.utime(path)


def give_up(command: str, place: object, owner: Owner) -> None:
    """Interrupt this process, whose lock `owner` took over because it counted as ended."""
    pid, host = shortened(owner.get("pid"), 80), shortened(owner.get("host"), 80)
    print_err(f"{command}: process {pid} on {host} has taken over {printable(place)}; stopping")
    main = threading.main_thread().ident
    if main is not None:  # unlike `interrupt_main`, this also interrupts a blocking call
        signal.pthread_kill(main, signal.SIGINT)
