"""An evaluator that trains all networks for equal processor time and scores them on the minival."""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from nas.evaluators.base import Evaluations, Evaluator
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from train.data import Data, load
from train.execution import Execution
from train.loop import Report, train
from train.recipe import Recipe, change, preset
from vbs.failures import is_infrastructure, reason_of

WARM = 5  # steps before the speed is measured, because the first steps allocate memory
PROBE = 10  # steps on which the speed is measured


class TimedTraining(Evaluator):
    """Trains each network for some seconds of one processor, several networks side by side.

    data       text for `train.data.load`.
    seconds    of processor time, which depends little on other load.
    processes  networks at once.
    """

    name = "timed-training"
    unit = "minival top-1 in percent after equal processor time"

    def __init__(self, data: str, *, seconds: float, processes: int) -> None:
        self.data, self.seconds = data, seconds
        # not forked, because torch's threads do not survive a fork
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=context)

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Return accuracies of genotypes int8 [n, decisions]; failures have a reason."""
        texts = [space.decode(genotype).to_json() for genotype in genotypes]
        measure = functools.partial(timed_accuracy, data=self.data, seconds=self.seconds)
        found = list(self._pool.map(measure, texts))
        accuracy, seconds, error = zip(*found, strict=True)
        return Evaluations(
            np.array(accuracy),
            np.full(len(found), np.nan),
            np.array(seconds),
            np.array(error, object),
        )


def timed_accuracy(text: str, *, data: str, seconds: float) -> tuple[float, float, str]:
    """Return (minival top-1, processor seconds, reason of a failure) for an architecture's JSON."""
    torch.set_num_threads(1)
    started = time.process_time()
    try:
        accuracy, failed = _trained(Architecture.from_dict(json.loads(text)), _data(data), seconds)
    except Exception as error:  # a network that cannot be trained must not end the search
        if is_infrastructure(error):
            raise
        accuracy, failed = float("nan"), reason_of(error)
    return accuracy, time.process_time() - started, failed


def _trained(architecture: Architecture, images: Data, seconds: float) -> tuple[float, str]:
    """Return the minival top-1 after as many images as the seconds allow, and the failure or ""."""
    recipe = change(preset("proxy"), ["epochs=1", "warmup_epochs=0.1"])
    each, failed = _step_seconds(architecture, images, recipe)
    if failed:
        return float("nan"), failed
    count = int(seconds / each * recipe.batch)
    rng = np.random.default_rng(0)
    passes = [rng.permutation(len(images.train)) for _ in range(count // len(images.train) + 1)]
    seen = images.train.select(np.concatenate(passes)[:count])
    result = train(
        architecture, replace(images, train=seen), recipe, execution=Execution(device="cpu")
    )
    return result.chosen.get("top1", float("nan")), result.failed


class _Clock(Report):
    """Records the processor time after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self, step: int, steps: int, loss: float | None) -> None:
        self.times.append(time.process_time())


def _step_seconds(architecture: Architecture, images: Data, recipe: Recipe) -> tuple[float, str]:
    """Return processor seconds of a training step after a warm-up, and the failure or ""."""
    some = images.train.select(np.arange((WARM + PROBE) * recipe.batch) % len(images.train))
    clock, probe = _Clock(), replace(images, train=some, minival=None)
    short = train(architecture, probe, recipe, execution=Execution(device="cpu"), report=clock)
    if short.failed:
        return float("nan"), short.failed
    return (clock.times[-1] - clock.times[WARM - 1]) / PROBE, ""


@functools.cache
def _data(text: str) -> Data:
    return load(text, minival=0.1, seed=0, test=False)
