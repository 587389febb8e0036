"""An evaluator that trains: accuracy on the minival after equal processor time for all networks."""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from train.data import Data, load
from train.recipe import change, preset

PROBE = 10  # steps that tell a network's speed before its training


class TimedTraining(Evaluator):
    """Trains each network for so many seconds of one processor, several networks side by side.

    data       text that `train.data.load` takes.
    seconds    of processor time, which other programs on the machine hardly change.
    processes  networks at once.
    """

    name = "timed-training"
    unit = "minival top-1 in percent after equal processor time"

    def __init__(self, data: str, *, seconds: float, processes: int) -> None:
        self.data, self.seconds = data, seconds
        # not forked: torch's threads do not survive that
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=context)

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Accuracies of genotypes int8 [n, decisions]; one that fails is a row with its reason."""
        texts = [space.decode(genotype).to_json() for genotype in genotypes]
        measure = functools.partial(timed_accuracy, data=self.data, seconds=self.seconds)
        found = list(self._pool.map(measure, texts))
        accuracy, seconds, error = zip(*found, strict=True)
        return Evaluations(
            np.array(accuracy), np.full(len(found), np.nan), np.array(seconds),
            np.array(error, object),
        )  # fmt: skip


def timed_accuracy(text: str, *, data: str, seconds: float) -> tuple[float, float, str]:
    """(minival top-1, processor seconds used, reason of a failure) of an architecture's JSON."""
    import torch

    from train.loop import train

    torch.set_num_threads(1)
    started = time.process_time()
    architecture = Architecture.from_dict(json.loads(text))
    images = _data(data)
    recipe = change(preset("proxy"), ["epochs=1", "warmup_epochs=0.1"])
    probe = replace(images, train=images.train.select(np.arange(PROBE * recipe.batch)))
    short = train(architecture, replace(probe, minival=None), recipe, device="cpu", test=False)
    count = int(seconds / short.seconds * PROBE * recipe.batch)
    rng = np.random.default_rng(0)
    passes = [rng.permutation(len(images.train)) for _ in range(count // len(images.train) + 1)]
    seen = images.train.select(np.concatenate(passes)[:count])
    result = train(architecture, replace(images, train=seen), recipe, device="cpu", test=False)
    used = time.process_time() - started
    return result.chosen.get("top1", float("nan")), used, result.failed


@functools.cache
def _data(text: str) -> Data:
    return load(text, minival=0.1, seed=0)
