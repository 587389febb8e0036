"""Child commands: processes started by another command, which end when that command ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "VBS_PARENT"  # environment variable: process ID of the parent
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LOOK, GRACE = 0.5, 30.0  # seconds between checks for the parent; seconds to save after it ended


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment for a command that ends with this process, even after SIGKILL."""
    return {**os.environ, **variables, PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """Arrange that a process started with `child_environment` ends soon after its parent.

    The process receives SIGTERM and exits after GRACE seconds if it is still running. On Linux
    the kernel sends the signal when the thread that started this process ends. A parent that
    ended before this call is recognized by its process ID.
    """
    text = os.environ.pop(PARENT, None)  # children of this process have another parent
    if text is None or not text.isdigit():
        return
    parent = int(text)
    by_kernel = sys.platform == "linux" and _signal_after_parent()
    if by_kernel and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        if not by_kernel:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _signal_after_parent() -> bool:
    """Ask the kernel for SIGTERM when the parent thread ends; return whether it accepted."""
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) == 0
    return False
