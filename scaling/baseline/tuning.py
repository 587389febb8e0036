"""Trainings of a baseline by `train.ray_tune`, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

from vbs.children import child_environment
from vbs.command import INTERRUPTED, MISTAKE


def run_tuning(words: Sequence[str]) -> int:
    """Run a command, as `python -m` does; its exit code. It ends with this process.

    Raises ValueError where it refuses the words; it has printed why.
    """
    process = subprocess.Popen([sys.executable, "-m", *words], env=child_environment())
    try:
        code = process.wait()
    except KeyboardInterrupt as error:
        if error.args and error.args[0] != signal.SIGINT:  # a terminal's Ctrl-C reached it too
            process.send_signal(error.args[0])
        process.wait()  # it saves what it has
        return INTERRUPTED
    if code == MISTAKE:
        raise ValueError("it was refused, for the reason above")
    return code
