"""The trainings behind a comparison of fidelities, run by the pool of searches.

Its processes keep the data set between trainings.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.evaluators.base import Answer, Point
from nas.evaluators.proxy import Fidelity, Proxy, image_seconds, shared_data
from nas.storage.cache import Cache
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from train.cluster.jobs import run_jobs
from train.cluster.place import Place
from train.execution import Execution
from train.recipe import Recipe
from vbs.failures import infrastructure_error, is_infrastructure, reason_of


class Job(NamedTuple):
    """Which training: indices into the fidelities and networks, and the seed."""

    fidelity: int
    network: int
    seed: int


@dataclass(frozen=True)
class Work:
    """All that a process needs for a training, as data that can be sent.

    settings  of the space of that name.
    cache     folder of the results.
    folder    of the training's checkpoint; removed at its end.
    """

    data: str
    root: str | None
    recipe: Recipe
    fidelity: Fidelity
    space: str
    settings: Mapping[str, Any]
    genotype: np.ndarray
    seed: int
    device: str
    cache: Path
    folder: Path

    def proxy(self) -> Proxy:
        """The evaluator that trains, with the clock of the comparison."""
        return Proxy(
            shared_data(self.data, self.recipe.minival, self.root),
            self.recipe,
            self.fidelity,
            Execution(device=self.device),
            cache=Cache(self.cache),
            clock=clock_of(self.device),
        )


def clock_of(device: str) -> Callable[[], float]:
    """What trainings are timed by.

    On a CPU the processor's time (of all threads together), which other programs and the other
    trainings hardly change, and which does not depend on how many run at once: a comparison that
    continues with other --workers finds its results. A GPU's work is in no process's time.
    """
    return time.process_time if device == "cpu" else time.perf_counter


def trained(work: Work) -> Answer:
    """Train one network; a failure is an answer with its reason.

    Raises InfrastructureError for what the network did not cause; its checkpoint is kept.
    """
    points: list[Point] = []
    try:
        proxy = work.proxy()
        the_space = space(work.space, **work.settings)
        points.extend(proxy.curve(the_space, work.genotype, seed=work.seed, folder=work.folder))
        answer = Answer.of_curve(points, images=proxy.scored_on)
    except Exception as error:  # one network that cannot be trained does not end the comparison
        if is_infrastructure(error):
            raise infrastructure_error(error) from None
        answer = Answer.failed(reason_of(error), points)
    shutil.rmtree(work.folder, ignore_errors=True)
    return answer


def run_all(works: Mapping[Job, Work], place: Place | None) -> Iterator[tuple[Job, Answer]]:
    """Each job with its answer as they end, begun in their order.

    place  where they run, in processes of a pool; None: one after the other in this process.

    Raises what `trained` and `train.cluster.jobs.run_jobs` raise. Closing the iterator ends the
    trainings.
    """
    if place is None:
        for job, work in works.items():
            yield job, trained(work)
        return
    with contextlib.closing(run_jobs(_trainer, works, place)) as ends:
        for job, outcome in ends:
            yield job, Answer.failed(outcome.reason) if outcome.reason else outcome.value


def _trainer() -> Callable[[Work], Answer]:
    """In a process of the pool: what trains."""
    return trained


def seconds_per_image(
    the_space: SearchSpace, genotypes: np.ndarray, recipe: Recipe, *, device: str, threads: int
) -> float:
    """What a training image takes here, the mean of the networks [n, decisions]; NaN where one
    cannot be trained. From a few steps each."""
    times = [
        image_seconds(the_space.decode(genotype), recipe, device=device, threads=threads)
        for genotype in genotypes
    ]
    return float(np.mean(times))
