"""The preview that is printed before a search with workers starts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from nas.asha import Asha
from nas.evaluators.proxy import EVALUATION, image_seconds, used_images
from nas.history import History
from nas.search.job import Job
from nas.search.setup import Measuring
from nas.strategies.base import feasible_share, sample_fresh
from search_spaces.architecture import Architecture
from vbs.console import print_err
from vbs.text import counted, shell_word
from vbs.units import minutes, percent


def print_preview(folder: Path, job: Job, study: str) -> float:
    """Print the planned search, the expected time, and the places of the results and the study.

    Returns the seconds of one training on this machine; NaN if unknown.
    """
    measuring, history, plan = job.measuring, job.history, job.plan
    space, objective = history.space, history.objective
    share = feasible_share(space, objective, np.random.default_rng(0))
    shown = percent(share)
    networks = f"{space.size:.3g} networks"
    if isinstance(measuring, Measuring):
        networks += f" for {space.resolution} px images of {len(measuring.data.classes)} classes"
    print_err(f"space {space.name}: {networks}, {shown} of them within {objective.limits_text}")
    for line in measuring.preview(plan.budget, plan.asha):
        print_err(line)
    each = _print_times(job)
    print_err(
        f"results go to {shell_word(f'{folder}/')}; each evaluation is recorded in {study} when "
        "it ends"
    )
    return each


def _print_times(job: Job) -> float:
    """Print the expected time; return the seconds of one training, NaN if unknown."""
    config, measuring, plan = job.config, job.measuring, job.plan
    places = job.places
    workers = places.slots
    if config.max_time is not None:
        print_err(f"no new network starts after {minutes(config.max_time)}")
    if config.address is not None:
        print_err(f"{counted(workers, 'network')} at once on the cluster at {config.address}")
        return math.nan
    if not (isinstance(measuring, Measuring) and measuring.kind.trains):
        print_err(f"{counted(workers, 'network')} at once")
        return math.nan
    each = expected_seconds(
        measuring, job.history, device=config.device, threads=max(1, int(places.cpus))
    )
    if math.isnan(each):
        print_err(
            f"{counted(workers, 'network')} at once; a network of median FLOPs could not be timed"
        )
        return math.nan
    repeats = plan.finalists * (plan.repeats - 1)
    share = expected_share(plan.asha, measuring.steps)
    first = plan.budget * share * each / workers
    if config.max_time is not None:
        first = min(first, config.max_time + each)  # trainings that have started are finished
    total = first + repeats * each / workers
    stopped = ", as most are stopped early" if share < 1 else ""
    print_err(
        f"about {each:.0f} s a training (a network of median FLOPs was timed), {workers} at "
        f"once: about {minutes(total)} in all{stopped}, including "
        f"{counted(repeats, 'further training')} of the {plan.finalists} best"
    )
    return each


def expected_share(asha: Asha | None, steps: int) -> float:
    """Return the share of all epochs that are trained if 1 in `factor` continues at each rung."""
    if asha is None:
        return 1.0
    ends = [*asha.rungs, steps]
    begins = [0, *asha.rungs]
    parts = [
        (end - begin) / asha.factor**rung
        for rung, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]
    return sum(parts) / steps


def expected_seconds(measuring: Measuring, history: History, *, device: str, threads: int) -> float:
    """Estimate the seconds of one full training from a few steps of a network of median FLOPs."""
    draws = sample_fresh(history, 33, np.random.default_rng(0))
    middle = np.argsort(history.space.costs(draws).flops)[len(draws) // 2]
    network = history.space.decode(draws[middle])
    assert isinstance(network, Architecture)
    return training_seconds(network, measuring, device=device, threads=threads)


def training_seconds(
    network: Architecture, measuring: Measuring, *, device: str, threads: int
) -> float:
    """Estimate the seconds of one full training of a network from a few steps; NaN if they fail."""
    each = image_seconds(network, measuring.recipe, device=device, threads=threads)
    trained = used_images(measuring.fidelity, measuring.data.train)
    images = trained + EVALUATION * measuring.data.minival
    return each * images * measuring.steps
