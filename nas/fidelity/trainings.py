"""The trainings behind a comparison of fidelities: several at once, each in a process of its own.

The processes are started anew (torch's threads do not survive a fork), keep the data set between
trainings, and end with the one that started them, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.evaluators.base import Answer, Point
from nas.evaluators.proxy import Fidelity, Proxy, image_seconds, load_proxy
from nas.storage.cache import Cache
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from train.recipe import Recipe
from vbs.failures import InfrastructureError, infrastructure_error, is_infrastructure, reason_of


class LostWorker(InfrastructureError):
    """A process that trained has died."""


class Job(NamedTuple):
    """Which training: indices into the fidelities and networks, and the seed."""

    fidelity: int
    network: int
    seed: int


@dataclass(frozen=True)
class Work:
    """All that a process needs for a training, as data that can be sent.

    settings  of the space of that name.
    threads   of torch in its process; 0: as they are.
    cache     folder of the results.
    folder    where the training keeps what it can go on from; removed at its end.
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
    threads: int
    cache: Path
    folder: Path

    def proxy(self) -> Proxy:
        """The evaluator that trains, with the threads and the clock of the comparison."""
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        return load_proxy(
            self.data, self.recipe, self.fidelity, root=self.root, device=self.device,
            cache=Cache(self.cache), clock=clock_of(self.device),
        )  # fmt: skip


def clock_of(device: str) -> Callable[[], float]:
    """What trainings are timed by.

    On a CPU the processor's time (of all threads together), which other programs and the other
    trainings hardly change, and which does not depend on how many run at once: a comparison that
    goes on with other --workers finds its results. A GPU's work is in no process's time.
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


def run_all(works: Mapping[Job, Work], *, processes: int) -> Iterator[tuple[Job, Answer]]:
    """Each job with its answer as they end; by one process in this one, begun in their order.

    Raises LostWorker where a process dies, and what `trained` raises. Whoever stops asking ends
    the trainings.
    """
    if processes == 1 or len(works) == 1:
        for job, work in works.items():
            yield job, trained(work)
        return
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(processes, len(works)), multiprocessing.get_context("spawn"), initializer=_begin
    )
    try:
        jobs = {pool.submit(trained, work): job for job, work in works.items()}
        for future in as_completed(jobs):
            yield jobs[future], future.result()
    except BrokenProcessPool:
        raise LostWorker(
            "a process that trained has died (perhaps for want of memory: try fewer --workers)"
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()


def _begin() -> None:
    """In a new process: leave Ctrl-C to the parent, and leave soon after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


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
