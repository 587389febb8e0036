"""Runs a step in a process of its own, which is ended at its time limit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.lib.gpu_check.step import Conditions, Step
from vbs.children import child_environment
from vbs.text import counted

CHILD = "experiments.lib.gpu_check.child"
GRACE, GONE = 5.0, 20.0  # seconds to end after SIGTERM, and after SIGKILL
SHOWN = 2000  # characters of a failed step's output that are kept
# must be set before CUDA starts, for deterministic sums (`resume`)
ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

Row = dict[str, Any]


def run_step(step: Step, conditions: Conditions) -> Row:
    """Run a step; return its row in the result file.

    status   "passed", "failed", "measured" (there is no goal), or "ran" in a dry run.
    reason   why the step did not end by itself (it crashed or was stopped); "" if it did.
    finding  what the step returned, or its last finding before it ended; None if none.
    """
    found = Path(conditions.folder) / f"{step.name}.json"
    log = Path(conditions.folder) / f"{step.name}.log"
    found.unlink(missing_ok=True)
    limit, began = conditions.left, time.monotonic()
    code = _ended(step, conditions, found, log)
    seconds = time.monotonic() - began
    kept = json.loads(found.read_text()) if found.exists() else {"complete": False, "finding": None}
    row = {"name": step.name, "question": step.question}
    row |= {"seconds": round(seconds, 1), "limit": round(limit, 1)}
    if kept["complete"]:
        return row | {"status": _status(kept["finding"], conditions), "reason": "", **_shown(kept)}
    output = log.read_text(errors="replace").strip()
    if code is None:
        reason = f"stopped after {counted(round(limit), 'second')}"
    else:
        last = output.rpartition("\n")[2].removeprefix("child: ")
        reason = last[:300] or f"ended with exit code {code}"
    answered = code is None and bool(kept["finding"]) and kept["finding"]["enough"]
    status = _status(kept["finding"], conditions) if answered else "failed"
    return row | {"status": status, "reason": reason, **_shown(kept), "output": output[-SHOWN:]}


def _shown(kept: dict[str, Any]) -> Row:
    finding = kept["finding"] or {}
    return {
        "figure": finding.get("figure", ""),
        "goal": finding.get("goal", ""),
        "finding": kept["finding"],
    }


def _status(finding: dict[str, Any], conditions: Conditions) -> str:
    if conditions.dry:
        return "ran"
    return {True: "passed", False: "failed", None: "measured"}[finding["passed"]]


def _ended(step: Step, conditions: Conditions, found: Path, log: Path) -> int | None:
    """Run the step's process; return its exit code, or None if it was stopped."""
    words = [step.place, str(found), json.dumps(dataclasses.asdict(conditions))]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", CHILD, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children can be ended with it
            env=child_environment(**ENVIRONMENT),
        )
    try:
        return process.wait(max(0.0, conditions.left))
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started in its session."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GONE)
