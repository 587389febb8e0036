"""One folder of results has one owner: the process that writes there.

The lock is a small JSON file that names the owner. It is taken over where the owner has ended,
whatever ended it: on the same machine that is known by process number and start time; on another
one that shares the folder, by a file time that the owner refreshes. Creation is atomic (a hard
link, or exclusive creation where the file system has no links), also of processes that start
together and of those that take over the same lock.
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
UNSAFE = re.compile(r"[^\w-]", re.ASCII)  # characters of an identifier that no file name gets
BEAT = 20.0  # seconds between signs of life
FORGOTTEN = 120.0  # seconds without one, after which an owner on another machine counts as ended
WRITING = 5.0  # seconds that a file without content may be one that is being written
TRIES, WAIT = 1000, 0.01  # rounds, and seconds between them, while others change the lock
# of os.link on file systems without hard links
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL, errno.EXDEV)

Owner = Mapping[str, Any]


def this_process(command: str) -> dict[str, Any]:
    """What the lock says of its owner."""
    return {
        "command": command,
        "host": socket.gethostname(),
        "processes": processes.place(),
        "pid": os.getpid(),
        "began": processes.start(os.getpid()),
        "id": uuid.uuid4().hex,
    }


def is_alive(owner: Owner, age: float) -> bool:
    """Whether the owner still works; age: seconds since its last sign of life."""
    pid = owner.get("pid")
    if not isinstance(pid, int):
        return False
    if processes.place() and owner.get("processes") == processes.place():
        began = processes.start(pid)
        if began:  # else unknown
            return owner.get("began") == began
    return age < FORGOTTEN


def in_use(place: object, owner: Owner, age: float) -> ValueError:
    """The refusal: who works in a place."""
    here = owner.get("processes") == processes.place()
    seen = ""
    if not here:
        seen = (
            f", last seen {max(0.0, age):.0f} s ago; without a sign of life for {FORGOTTEN:.0f} s "
            "it counts as ended"
        )
    what = ("command", "another command"), ("pid", "?"), ("host", "an unknown machine")
    command, pid, host = (shortened(owner.get(name, usual), 80) for name, usual in what)
    return ValueError(
        f"out: {printable(place)} is in use by {command} (process {pid} on {host}{seen}); wait "
        "until it ends, or choose another --out"
    )


@contextlib.contextmanager
def owned(folder: Path | None, command: str, *, name: str = FILE) -> Iterator[None]:
    """The folder is this process's inside the block; None, or no such folder: nothing is locked.

    command  what the refusal calls this process, such as nas.search.
    name     of the lock file; one of its own for a single file in a folder.

    Raises ValueError where another process that lives owns it, OSError where it cannot be written.
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
    """Make the lock ours; ValueError where its owner lives.

    Of those that take over the lock of the same ended owner, the one that creates the file `after`
    that owner has it. It replaces the lock before it removes that file, so whoever creates it
    again afterwards finds another lock than it had read, and starts over.
    """
    own = _beside(path, mine["id"])
    if path.is_symlink() and not path.exists():
        raise ValueError(f"out: {printable(path)} is a link to nothing; remove it")
    try:
        own.write_text(json.dumps(mine) + "\n")
        for _ in range(TRIES):
            if _create(path, own) or _taken_over(path, own):
                return
            time.sleep(WAIT)
    finally:
        with contextlib.suppress(OSError):
            own.unlink()
    raise ValueError(f"out: {path.parent} could not be locked; other processes keep taking it")


def _taken_over(path: Path, own: Path) -> bool:
    """Whether the owner has ended, and the lock is ours instead; ValueError where it lives.

    False where the lock changes just now.
    """
    first = _read(path)
    if first is None:
        return False
    last, shown = _last(path, first)
    os.utime(own)  # by the clock of the file system, which may be another machine's
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
    """What those have left that ended while they took over, and then our own claim."""
    owner: Owner | None = first
    while owner and _after(path, owner) != claim:
        after = _after(path, owner)
        owner = _read(after)
        after.unlink(missing_ok=True)
    claim.unlink(missing_ok=True)


def _last(path: Path, first: Owner) -> tuple[Owner, Path]:
    """Who has the lock by now, and the file that says so: the owner, or the last that took over."""
    owner, ended = first, path
    while owner and (later := _read(_after(path, owner))) is not None:
        owner, ended = later, _after(path, owner)
    return owner, ended


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f".{path.name}-{name}")


def _after(path: Path, owner: Owner) -> Path:
    return _beside(path, f"after-{_id(owner) or 'damaged'}")


def _id(owner: Owner | None) -> str:
    """The owner's identifier, as a part of a file's name."""
    return "" if owner is None else UNSAFE.sub("_", str(owner.get("id", "")))[:64]


def _read(path: Path) -> Owner | None:
    """The owner that a file names; {} where it is damaged, None where there is no file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
            return {}
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        known = None
    return known if isinstance(known, dict) else {}


def _create(path: Path, own: Path) -> bool:
    """Whether `path`, with the content of `own`, could be created: there was no such file."""
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
    """Show that this process lives; interrupt it where another one has taken its lock over."""
    while not over.wait(BEAT):
        with contextlib.suppress(OSError):  # a disk that is away for a while
            known = _read(path)
            if known is not None and _id(known) != mine["id"]:
                give_up(mine["command"], path.parent, known)
                return
            os.utime(path)


def give_up(command: str, place: object, owner: Owner) -> None:
    """Interrupt this process: it seemed to have ended, and `owner` has taken its place."""
    pid, host = shortened(owner.get("pid"), 80), shortened(owner.get("host"), 80)
    print_err(f"{command}: process {pid} on {host} works in {printable(place)} now; this one ends")
    main = threading.main_thread().ident
    if main is not None:  # unlike `interrupt_main`, this ends a call that blocks
        signal.pthread_kill(main, signal.SIGINT)
