"""Temporary folders that go with their owner, even one that is killed, and so do the processes
that it starts meanwhile."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vbs import guard, signals
from vbs.lock import owned

PREFIX = "vbs-ray-"
YOUNG = 60.0  # seconds in which a folder may be too new to have its lock


@contextlib.contextmanager
def temporary_folder(above: str | None = None) -> Iterator[str]:
    """A new folder in `above` (default: where temporary files are), removed after the block.

    Processes that are started inside are killed with it; they know it by an environment variable.
    Folders of owners that have ended are removed first.
    """
    above = above or tempfile.gettempdir()
    sweep(above)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=above)
    with owned(Path(folder), "a temporary folder"):
        watcher = _start_guard(folder)
        before = os.environ.get(guard.MARK)
        os.environ[guard.MARK] = folder
        try:
            yield folder
        finally:
            if before is None:
                os.environ.pop(guard.MARK, None)
            else:
                os.environ[guard.MARK] = before
            with signals.deferred():
                guard.remove(folder)
                if watcher is not None:
                    watcher.kill()
                    watcher.wait()


def process_folder() -> Path:
    """A temporary folder of this process, removed when it ends, even if it is killed.

    It is that of the command that has started this process, where that has one.
    """
    mark = os.environ.get(guard.MARK)
    return Path(mark) if mark and os.path.isdir(mark) else Path(_of_process(os.getpid()))


@functools.cache
def _of_process(process: int) -> str:
    stack = contextlib.ExitStack()
    folder = stack.enter_context(temporary_folder())
    atexit.register(stack.close)
    return folder


def sweep(above: str) -> None:
    """Remove the folders of this kind whose owner has ended, where no guard has done so."""
    for place in Path(above).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):  # another user's, or in use
            if time.time() - place.stat().st_mtime < YOUNG:
                continue
            with owned(place, "a temporary folder"):
                guard.remove(str(place))


def _start_guard(folder: str) -> subprocess.Popen[bytes] | None:
    """The process that cleans up after this one; None where it cannot be started."""
    command = [sys.executable, "-I", "-S", guard.__file__, folder, str(os.getpid())]
    with contextlib.suppress(OSError):
        return subprocess.Popen(
            command,
            cwd="/",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return None
