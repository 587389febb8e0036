"""Test helper: steps of a check that need no torch, for test_gpu_check."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding


def good(here: Conditions, keep: Keep) -> Finding:
    return finding("1.23 x", goal="1.00", passed=True, worst=float("nan"))


def bad(here: Conditions, keep: Keep) -> Finding:
    return finding("0.87 x", goal="1.00", passed=False)


def measured(here: Conditions, keep: Keep) -> Finding:
    return finding("17 GiB")


def mistaken(here: Conditions, keep: Keep) -> Finding:
    raise ValueError("data: no such images")


def crashes(here: Conditions, keep: Keep) -> Finding:
    keep(finding("half of it"))
    os.abort()


def hangs(here: Conditions, keep: Keep) -> Finding:
    """Ignore SIGTERM, and start a child process; its number is written to $STEP_CHILD."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["STEP_CHILD"]).write_text(str(child.pid))
    keep(finding("0.95 x so far", goal="1.00", passed=False))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    return finding("")


def slow(here: Conditions, keep: Keep) -> Finding:
    """Keep a valid finding, then continue for longer than the limit."""
    keep(finding("1.05 x without compiling", goal="1.00", passed=True, enough=True))
    time.sleep(600)
    return finding("")


def counted(here: Conditions, keep: Keep) -> Finding:
    """Count the runs in the file $STEP_RUNS."""
    runs = Path(os.environ["STEP_RUNS"])
    runs.write_text((runs.read_text() if runs.exists() else "") + "x")
    return finding(f"ran {len(runs.read_text())} times", goal="", passed=None)
