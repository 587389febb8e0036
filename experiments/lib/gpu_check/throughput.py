"""Images/s of our training step and of timm's, in one process and in alternating rounds.

Both sides use cuDNN's benchmark mode, as timm's train.py does, and bfloat16. The best setting of a
side has the least median time; the ratio is the median of the rounds' ratios. Settings without
torch.compile run first, so that their result exists if compiling takes too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from experiments.bench_training import quartiles, ratio, rounds_of
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import TINY
from experiments.lib.timm_loop import Setting
from experiments.lib.timm_networks import check_twins, proxy_network
from experiments.lib.training_sides import Case, Side
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo

GOAL = 1.0
FAST = "bfloat16"
EAGER = (
    Setting("ours", precision=FAST),
    Setting("timm", precision=FAST),
    Setting("ours", channels_last=False, precision=FAST),
    Setting("timm", channels_last=False, precision=FAST),
    Setting("timm", precision=FAST, foreach=True),
)
COMPILED = tuple(Setting(side, precision=FAST, compile=True) for side in ("ours", "timm"))
COMPILING = 40.0  # remaining seconds below which torch.compile is not tried


def b0(here: Conditions, keep: Keep) -> Finding:
    """Compare EfficientNet-B0 at 224 px, 128 images a step."""
    return _compared(zoo("efficientnet_b0"), "efficientnet_b0", 128, here, keep)


def proxy(here: Conditions, keep: Keep) -> Finding:
    """Compare the proxy network at 32 px, 1,024 images a step."""
    return _compared(proxy_network(None, 10), "", 1024, here, keep)


def _compared(
    architecture: Architecture, timm_name: str, batch: int, here: Conditions, keep: Keep
) -> Finding:
    torch.backends.cudnn.benchmark = True
    if here.dry:
        architecture, timm_name, batch = TINY, "", 8
    case = Case("case", architecture, timm_name, batch, here.pick(10, 1), True, here.device)
    checked = check_twins(architecture, name=timm_name, side=here.pick(64, 0))
    rounds = here.pick(7, 2)
    times = _times(case, EAGER, rounds)
    found = _judged(case, times, checked)
    keep(found)
    if here.left < COMPILING or here.dry:
        return found
    # the best eager settings run again, because a ratio needs rounds of one run
    best = [_best(times, side) for side in ("ours", "timm")]
    again = _times(case, (*best, *COMPILED), rounds)
    return _judged(case, {**times, **again}, checked)


def _times(case: Case, settings: Sequence[Setting], rounds: int) -> dict[Setting, list[float]]:
    """Return seconds of `case.steps` steps, by round."""
    sides = {setting: Side(case, setting) for setting in settings}
    tasks = {
        setting: partial(side.seconds, side.ready(), case.steps) for setting, side in sides.items()
    }
    return rounds_of(tasks, rounds, slow=rounds)


def _best(times: dict[Setting, list[float]], side: str) -> Setting:
    own = [setting for setting in times if setting.side == side]
    return min(own, key=lambda setting: float(np.median(times[setting])))


def _judged(case: Case, times: dict[Setting, list[float]], checked: dict[str, Any]) -> Finding:
    ours, timm = (_best(times, side) for side in ("ours", "timm"))
    over = ratio(times[ours], times[timm])
    images = case.batch * case.steps
    rates = {
        f"{each.side} {each.label}": images / float(np.median(values))
        for each, values in times.items()
    }
    mine, theirs = rates[f"ours {ours.label}"], rates[f"timm {timm.label}"]
    return finding(
        f"{over['median']:.2f} x timm's best ({mine:,.0f} and {theirs:,.0f} images/s)",
        goal=f"{GOAL:.2f}",
        passed=over["median"] >= GOAL,
        enough=True,
        over_timm=over,
        best={"ours": ours.label, "timm": timm.label},
        images_per_second=rates,
        milliseconds_per_step={
            f"{each.side} {each.label}": quartiles([1000 * v / case.steps for v in values])
            for each, values in times.items()
        },
        batch=case.batch,
        resolution=case.architecture.resolution,
        **checked,
    )
