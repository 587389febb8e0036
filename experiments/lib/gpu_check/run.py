"""Runs the steps one after the other, within a time limit for all of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.lib.common import is_installed
from experiments.lib.gpu_check.process import Row, run_step
from experiments.lib.gpu_check.record import FINISHED, Record
from experiments.lib.gpu_check.step import Conditions, Step
from experiments.lib.gpu_check.steps import MINUTES
from vbs.failures import Failure

LEAST = 15.0  # remaining seconds below which no step starts
DRY_STEP = 3600.0  # limit of a step in a dry run, on busy processors


@dataclass(frozen=True, kw_only=True)
class Check:
    """Settings of a check: device, images, and time limit."""

    device: str
    dry: bool
    data: str | None
    minutes: float

    def limit(self, step: Step) -> float:
        """Return the seconds that the step may take; in proportion to a longer total time."""
        return DRY_STEP if self.dry else step.seconds * max(1.0, self.minutes / MINUTES)

    def conditions(self, folder: str, ends: float) -> Conditions:
        """Return the conditions of a step that is stopped at a time."""
        return Conditions(
            device=self.device, dry=self.dry, data=self.data, folder=folder, ends=ends
        )


def describe_machine(check: Check, step: Step) -> Row:
    """Return the row of the step that describes the device; raises Failure if that fails."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        row = run_step(step, check.conditions(folder, time.time() + check.limit(step)))
    if row["reason"]:
        raise Failure(row["reason"])
    return row


def run_steps(
    check: Check, steps: Sequence[Step], record: Record, report: Callable[[Row], None]
) -> None:
    """Run the steps that have no row in the record, and write it after each.

    report  called with every new row.
    """
    ends = time.time() + 60 * check.minutes
    for step in steps:
        if step.name in record.rows:
            continue
        row = skipped(step, missing(step, check, ends - time.time()))
        if row is None:
            with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
                own = min(ends, time.time() + check.limit(step))
                row = run_step(step, check.conditions(folder, own))
        record.add(row)
        report(row)
    record.write(FINISHED)


def missing(step: Step, check: Check, left: float) -> str:
    """Return why a step cannot run; "" if it can."""
    lacking = [package for package in step.packages if not is_installed(package)]
    if lacking:
        return f"{' and '.join(lacking)} not installed"
    if step.data and check.data is None and not check.dry:
        return "no --data"
    return f"{max(0.0, left):.0f} s are left" if left < LEAST else ""


def skipped(step: Step, reason: str) -> Row | None:
    """Return the row of a skipped step; None without a reason."""
    if not reason:
        return None
    empty = {"seconds": 0.0, "limit": 0.0, "figure": "", "goal": "", "finding": None}
    row = {"name": step.name, "question": step.question, **empty}
    return row | {"status": "skipped", "reason": reason}
