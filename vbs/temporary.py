"""Temporary folders that are removed when the process that owns them ends, even if it is killed.

Processes that the owner has started meanwhile are killed too.
"""

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
YOUNG = 60.0  # seconds during which a new folder may not have its lock yet


@contextlib.contextmanager
def temporary_folder(above: str | None = None) -> Iterator[str]:
    """Create a folder in `above` (default: the temporary folder) and remove it after the block.

    Processes that are started inside the block are killed with it; an environment variable marks
    them. Folders of owners that have ended are removed first.
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
    """Return a temporary folder that is removed when this process ends, even if it is killed.

    If a command that has such a folder started this process, the folder of that command is
    returned.
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
    """Remove folders whose owner has ended and whose guard did not remove them."""
    for place in Path(above).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):  # it belongs to another user, or is in use
            if time.time() - place.stat().st_mtime < YOUNG:
                continue
            with owned(place, "a temporary folder"):
                guard.remove(str(place))


def _start_guard(folder: str) -> subprocess.Popen[bytes] | None:
    """Start the process that removes the folder later; None if it cannot be started."""
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
