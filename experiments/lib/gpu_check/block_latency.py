"""Block times by CUDA events: does their sum rank whole networks as the GPU does?

Measured for one image at a time, the usual setting of searches, in which kernel launches dominate,
and for a batch that fills the GPU.
"""

from __future__ import annotations

from typing import Any

import torch

from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from nas.block_times.measure import MeasuringPlan, measure
from nas.block_times.timing import Setting
from search_spaces.architecture import Stage
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from vbs.console import print_err

GOAL = 0.9  # Kendall's tau between predicted and measured latency
BATCHES = (64, 1)
TESTS, CALIBRATION = 20, 8


def check(here: Conditions, keep: Keep) -> Finding:
    """Return error and rank correlation on networks that no fit used, for each batch."""
    torch.backends.cudnn.benchmark = False  # as in the commands
    rows: dict[str, dict[str, Any]] = {}
    found = finding("")
    for batch in BATCHES:
        rows[str(batch)] = measured(here, batch)
        found = _judged(rows)
        keep(found)
    return found


def measured(here: Conditions, batch: int) -> dict[str, Any]:
    """Return how well a table predicts; the table itself is not kept."""
    the_space = tiny_space() if here.dry else space("efficientnet")
    plan = MeasuringPlan(
        # half of the time is left for building the networks and for warm-up
        seconds=here.pick(min(30.0, here.left / 4), 1.0),
        rounds=here.pick(None, 1),
        calibration=CALIBRATION,
        tests=here.pick(TESTS, 3),
    )
    setting = Setting("latency", batch=here.pick(batch, 1), device=here.device)
    times = measure(the_space, setting, plan, say=print_err)
    return {
        "blocks": len(times.blocks),
        "clock": setting.clock,
        "scale": times.scale,
        "constant": times.constant,
        **times.checked,
    }


def tiny_space() -> SearchSpace:
    """Return a space of two stages with two forms each, at 16 px."""
    choices = {"block0_l": (1, 2), "block1_k": (3, 5)}
    frame = {"stem": 8, "head": 16, "resolution": 16, "classes": 10}
    return StagedSpace("tiny", choices, _stage, frame=frame)


def _stage(index: int, own: dict[str, Any]) -> Stage:
    return Stage("mbconv", own.get("l", 1), own.get("k", 3), 2 - index, 4, 8 + 8 * index)


def _judged(rows: dict[str, dict[str, Any]]) -> Finding:
    shown = ", ".join(
        f"tau {row['kendall_tau']:.2f}, median error {row['median_error']:.1%} at batch {batch}"
        for batch, row in rows.items()
    )
    return finding(
        shown,
        goal=f"tau {GOAL:g} at both",
        passed=len(rows) == len(BATCHES)
        and all(row["kendall_tau"] >= GOAL for row in rows.values()),
        batches=rows,
    )
