"""Commands that other commands start, and that do not outlive them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "VBS_PARENT"  # environment variable: the process that a child belongs to
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LOOK, GRACE = 0.5, 30.0  # seconds between looks for the parent, and to save and leave without it


def child_environment(**variables: str) -> dict[str, str]:
    """The environment for a command that is to end with this process, even by SIGKILL."""
    return {**os.environ, **variables, PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """In a process started with `child_environment`: end soon after the parent has gone.

    It gets SIGTERM, and leaves by itself where that has not ended it within GRACE. The kernel
    sends the signal as soon as the thread that started this process ends; a parent that ended
    before that is found by its number.
    """
    text = os.environ.pop(PARENT, None)  # processes that this one starts have another parent
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
    """Whether the kernel will send SIGTERM when the thread that started this process ends."""
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) == 0
    return False
