"""Two trainings on half a GPU each, in the worker pool of searches, grids and experiments.

Both must see the GPU, run at the same time, and learn as well as one that has the GPU alone.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.lib.gpu_check.loop import LEARNED, row_of, short_recipe, trained
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import learnable, network_for
from train.cluster.jobs import run_jobs
from train.cluster.place import Place

TRIALS = 2
MEETING = 60.0  # seconds that a trial waits until the other's process is ready


def check(here: Conditions, keep: Keep) -> Finding:
    """Return the results of both, their overlap, and their images/s relative to one alone."""
    alone = training(here, 0)
    place = Place(TRIALS, cpus=1, gpus=0.5 if here.device == "cuda" else 0.0)
    make = functools.partial(_made, here)
    jobs = {seed: seed for seed in range(TRIALS)}
    rows: dict[int, dict[str, Any]] = {}
    with contextlib.closing(run_jobs(make, jobs, place)) as ends:
        for seed, outcome in ends:
            if outcome.reason:
                raise ValueError(f"trial {seed} failed: {outcome.reason}")
            rows[seed] = json.loads(outcome.value)
    return _judged(here, alone, list(rows.values()))


def _made(here: Conditions) -> Callable[[int], str]:
    """Return the function of a process in the pool."""

    def run(seed: int) -> str:
        _meet(Path(here.folder), seed)
        return json.dumps(training(here, seed))

    return run


def _meet(folder: Path, seed: int) -> None:
    """Wait until all trials have started: their processes may be ready at different times."""
    (folder / f"trial-{seed}").touch()
    end = time.time() + MEETING
    while len(list(folder.glob("trial-*"))) < TRIALS and time.time() < end:
        time.sleep(0.05)


def training(here: Conditions, seed: int) -> dict[str, Any]:
    """Run a training with that seed; return plain data with the times of its start and end."""
    network = network_for(here)
    data = learnable(*here.pick((8192, 1024), (64, 32)), side=network.resolution)
    began = time.time()
    result, clock = trained(here, short_recipe(here, f"seed={seed}"), data)
    return {**row_of(result, clock), "began": began, "ended": time.time()}


def _judged(here: Conditions, alone: dict[str, Any], rows: list[dict[str, Any]]) -> Finding:
    both = min(row["ended"] for row in rows) - max(row["began"] for row in rows)
    longest = max(row["ended"] - row["began"] for row in rows)
    overlap = max(0.0, both / longest)
    together = sum(row["images_per_second"] or 0.0 for row in rows)
    on_device = all(row["device"].startswith(here.device) for row in rows)
    learned = all(not row["failed"] and (row["top1"] or 0.0) >= LEARNED for row in rows)
    gain = together / (alone["images_per_second"] or float("nan"))
    return finding(
        f"{len(rows)} at once for {overlap:.0%} of the time, {gain:.2f} x the images/s of one",
        goal=f"both learn on the {'GPU' if here.device == 'cuda' else 'CPU'}, overlapping",
        passed=len(rows) == TRIALS and on_device and learned and overlap > 0.5,
        overlap=overlap,
        gain=gain,
        alone=alone,
        trials=rows,
    )
