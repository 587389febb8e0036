"""Augmentation of in-memory images on the device: does the GPU wait for it at 32 px?

Steps on prepared batches alternate with steps whose batches are prepared in between, as in
training; the additional time of the latter is the share that the training waits. Also reported: how
often a step makes the processor wait for the GPU, how long the GPU is idle in a step (by the
profiler), and how far batches differ from those that a CPU prepares.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import images, network_for
from experiments.lib.timm_loop import Setting
from experiments.lib.training_sides import Batches, Case, Side
from train.data import Step
from train.data.augment import Augmentation

GOAL = 0.05  # largest share of the time
BATCHES = (128, 1024)
SYNCHRONISED = "called a synchronizing CUDA operation"
LEVEL = 1.5 / 255 / 0.22  # a grey level and a half, in units of normalised images


def check(here: Conditions, keep: Keep) -> Finding:
    """Return shares, counts and differences for each batch size."""
    rows: dict[str, dict[str, Any]] = {}
    apart = differences(here)
    found = finding("")
    for batch in here.pick(BATCHES, (8,)):
        network = network_for(here)
        case = Case("case", network, "", batch, here.pick(20, 2), False, here.device)
        side = Side(case, Setting("ours", precision="bfloat16"))
        rows[str(batch)] = _measured(side, here.pick(7, 2))
        found = _judged(rows, apart)
        keep(found)
    return found


def _measured(side: Side, rounds: int) -> dict[str, Any]:
    ready, steps = side.ready(), side.case.steps
    pairs = []
    for number in range(rounds + 1):
        pair = (side.seconds(ready, steps), side.seconds(side.fresh(steps), steps))
        pairs += [pair] * (number > 0)  # the first round is a warm-up
    alone, loaded = np.array(pairs).T
    return {
        "share_waiting": float(np.median(1 - alone / loaded)),
        "milliseconds_ready": 1000 * float(np.median(alone)) / steps,
        "milliseconds_loaded": 1000 * float(np.median(loaded)) / steps,
        "images_per_second": side.case.batch * steps / float(np.median(loaded)),
        "waits_per_step": _waits(side, side.fresh(steps), steps),
        "share_idle": _idle(side, side.fresh(steps), steps),
    }


def _waits(side: Side, batches: Batches, steps: int) -> float | None:
    """Return operations per step that make the processor wait for the GPU; None on a CPU."""
    if side.device.type != "cuda":
        return None
    side.step(batches)  # the first step copies the targets of the whole data set
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(steps - 1):
                side.step(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum(SYNCHRONISED in str(each.message) for each in seen) / (steps - 1)


def _idle(side: Side, batches: Batches, steps: int) -> float | None:
    """Return the share of the time, from first to last kernel, in which none runs; None on a CPU.

    The profiler makes launches slower, so this is an upper bound.
    """
    if side.device.type != "cuda":
        return None
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(steps):
            side.step(batches)
        torch.cuda.synchronize()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    return idle_share(spans)


def idle_share(spans: list[tuple[float, float]]) -> float | None:
    """Return the share of the time, from first start to last end, without a span; spans sorted."""
    if not spans:
        return None
    busy, reached = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    whole = reached - spans[0][0]
    return 1 - busy / whole if whole > 0 else None


def differences(here: Conditions) -> dict[str, float]:
    """Return the share of pixels that differ by more than 1.5 grey levels from a CPU's."""
    some = images(64, side=32, seed=1)
    rows = np.arange(len(some))
    step = [Step(rows, slice(0, len(rows)), 7)]
    ways = {
        "pad": Augmentation(size=32, crop="pad"),
        "resized": Augmentation(size=32),
        "randaugment": Augmentation(size=32, crop="pad", policy="randaugment", erasing=0.5),
    }
    found = {}
    for name, how in ways.items():
        (own, _), (other, _) = (
            next(iter(some.batches(step, how, device=device))) for device in ("cpu", here.device)
        )
        found[name] = float(((own - other.cpu()).abs() > LEVEL).float().mean())
    return found


def _judged(rows: dict[str, dict[str, Any]], apart: dict[str, float]) -> Finding:
    shown = ", ".join(f"{row['share_waiting']:.1%} at batch {batch}" for batch, row in rows.items())
    exact = apart["pad"] == 0.0
    return finding(
        f"waits {shown}" + ("" if exact else "; crops differ from a CPU's"),
        goal=f"at most {GOAL:.0%}, never for the processor",
        passed=exact
        and all(
            row["share_waiting"] <= GOAL and not row["waits_per_step"] for row in rows.values()
        ),
        batches=rows,
        pixels_apart=apart,
    )
