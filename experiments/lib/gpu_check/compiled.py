"""Check of torch.compile in the training loop: equal training, gain of speed, seconds to compile.

The trainings are longer than the 180 batches after which batch norms use the network's own
momentum, because that compiles once more. A dry run uses the backend `aot_eager`, which has the
same graphs; Inductor takes a minute to generate kernels.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import torch

from experiments.lib.gpu_check.loop import Clock, row_of, short_recipe, trained
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import learnable, network_for

ALIKE = 0.05  # share of the first epoch's loss by which the two trainings may differ


def check(here: Conditions, keep: Keep) -> Finding:
    """Return losses and images/s of a training with torch.compile and of one without."""
    if here.dry:
        torch.compile = functools.partial(torch.compile, backend="aot_eager")
    network = network_for(here)
    data = learnable(*here.pick((8192, 1024), (64, 32)), side=network.resolution)
    rows: dict[str, Any] = {}
    found = finding("")
    for name in ("eager", "compiled"):
        changes = [f"compile={name == 'compiled'}", "precision=auto"]
        result, clock = trained(here, short_recipe(here, *changes), data)
        rows[name] = row_of(result, clock) | {"stalls_seconds": stalls(clock)}
        found = _judged(rows)
        keep(found)
    return found


def stalls(clock: Clock) -> float:
    """Return the seconds of steps longer than a second each, which compile."""
    spans = [end - begin for begin, end in itertools.pairwise([0.0, *clock.times])]
    return sum(span for span in spans if span > 1.0)


def _judged(rows: dict[str, dict[str, Any]]) -> Finding:
    goal = f"losses within {ALIKE:.0%} of the first epoch's, faster"
    eager, compiled = rows["eager"], rows.get("compiled")
    if compiled is None:
        return finding("not compiled", goal=goal, passed=False, trainings=rows)
    if eager["failed"] or compiled["failed"]:
        reason = compiled["failed"] or eager["failed"]
        return finding(reason, goal=goal, passed=False, trainings=rows)
    pairs = zip(eager["losses"], compiled["losses"], strict=True)
    apart = max(abs(one - other) for one, other in pairs) / eager["losses"][0]
    gain = compiled["images_per_second"] / eager["images_per_second"]
    return finding(
        f"{gain:.2f} x eager's images/s, losses {apart:.1%} apart, "
        f"{compiled['stalls_seconds']:.0f} s to compile",
        goal=goal,
        passed=apart <= ALIKE and gain > 1,
        losses_apart=apart,
        gain=gain,
        trainings=rows,
    )
