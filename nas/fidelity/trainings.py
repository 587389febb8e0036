"""Trainings of a comparison of fidelities, run in the process pool of searches.

The processes of the pool keep the data set between trainings.
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
    """A training: indices of its fidelity and its network, and its seed."""

    fidelity: int
    network: int
    seed: int


@dataclass(frozen=True)
class Work:
    """Everything that a process needs for a training, as data that can be sent.

    data, root  the data set, and the folder of data sets, as for `train.data.load`.
    space       name of the space.
    settings    sizes of the space.
    cache       folder of cached results.
    folder      folder of the training's checkpoint, which is removed at the end.
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
        """Return the evaluator that trains, with the clock of the comparison."""
        return Proxy(
            shared_data(self.data, self.recipe.minival, self.root),
            self.recipe,
            self.fidelity,
            Execution(device=self.device),
            cache=Cache(self.cache),
            clock=clock_of(self.device),
        )


def clock_of(device: str) -> Callable[[], float]:
    """Return the clock of trainings.

    On a CPU it is the processor time of all threads together. Other programs and parallel trainings
    hardly change it, so that a comparison resumed with other --workers can use its earlier results.
    On a GPU it is wall-clock time, because processor time does not include the GPU's work.
    """
    return time.process_time if device == "cpu" else time.perf_counter


def trained(work: Work) -> Answer:
    """Train one network; a failure is an answer with its reason.

    Raises InfrastructureError for failures that the network did not cause; the checkpoint then
    remains.
    """
    points: list[Point] = []
    try:
        proxy = work.proxy()
        the_space = space(work.space, **work.settings)
        points.extend(proxy.curve(the_space, work.genotype, seed=work.seed, folder=work.folder))
        answer = Answer.of_curve(points, images=proxy.scored_on)
    except Exception as error:  # a network that cannot be trained must not end the comparison
        if is_infrastructure(error):
            raise infrastructure_error(error) from None
        answer = Answer.failed(reason_of(error), points)
    shutil.rmtree(work.folder, ignore_errors=True)
    return answer


def run_all(works: Mapping[Job, Work], place: Place | None) -> Iterator[tuple[Job, Answer]]:
    """Start trainings in order, and yield each job with its answer when it ends.

    place  processes of the pool; None: run the trainings one after the other in this process.

    Raises the exceptions of `trained` and `train.cluster.jobs.run_jobs`. Closing the iterator ends
    the trainings.
    """
    if place is None:
        for job, work in works.items():
            yield job, trained(work)
        return
    with contextlib.closing(run_jobs(_trainer, works, place)) as ends:
        for job, outcome in ends:
            yield job, Answer.failed(outcome.reason) if outcome.reason else outcome.value


def _trainer() -> Callable[[Work], Answer]:
    """Return the function that trains, in a process of the pool."""
    return trained


def seconds_per_image(
    the_space: SearchSpace, genotypes: np.ndarray, recipe: Recipe, *, device: str, threads: int
) -> float:
    """Measure the seconds per training image, the mean over networks [n, decisions].

    A few steps of each network are timed. NaN if one cannot be trained.
    """
    times = [
        image_seconds(the_space.decode(genotype), recipe, device=device, threads=threads)
        for genotype in genotypes
    ]
    return float(np.mean(times))
