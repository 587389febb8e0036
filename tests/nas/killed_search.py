"""Test helper: searches in child processes that are killed at random moments."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nas import catalog
from nas.asha import Asha
from nas.evaluators.base import Evaluator, Point
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.workers import InProcess
from nas.storage.study import open_study
from nas.storage.study_settings import SearchIdentity
from search_spaces.space import SearchSpace
from tests.nas.toys import b0_space

NETWORKS, STEPS = 40, 4


class Fatal(Evaluator):
    """Deterministic learning curves, some of which fail; kills its process after `points` points.

    The process dies between two points or while a point is being written.
    """

    steps = STEPS

    def __init__(self, points: int, delay: float) -> None:
        self.left, self.delay = points, delay

    def curve(
        self, space: SearchSpace, genotype: np.ndarray, *, seed: int = 0, folder: Path | None = None
    ) -> Iterator[Point]:
        rng = np.random.default_rng([*genotype.astype(int), seed])
        level = 50 + 5 * rng.random()
        for step in range(1, STEPS + 1):
            time.sleep(0.002)
            self.left -= 1
            if not self.left:
                threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            if step == 2 and rng.random() < 0.1:
                raise RuntimeError("CUDA out of memory")
            yield Point(step, level + step * rng.random(), float(step))


def one(storage: str, points: int, delay: float) -> History:
    """Run or resume the search with one driver."""
    space, objective = b0_space(), Objective(400e6)
    history = History(space, objective)
    plan = Plan(NETWORKS, seed=3, asha=Asha(STEPS, factor=2), finalists=2, repeats=3)
    strategy = catalog.strategy("predictor", space, objective)
    with open_study(storage, "killed", SearchIdentity(space, objective), resume=True) as study:
        workers = InProcess(Fatal(points, delay), space)
        search_asynchronously(history, strategy, workers, plan, study=study)
    return history


def together(storage: str, drivers: int) -> None:
    """Run the search with several drivers at once, one of which is killed."""
    children = []
    for driver in range(drivers):
        children.append(os.fork())
        if not children[-1]:
            one(storage, 12 if driver == 0 else -1, 0.01)
            os._exit(0)
    ended = [os.WIFEXITED(os.waitpid(child, 0)[1]) for child in children]
    assert ended == [False] + [True] * (drivers - 1)


def main() -> None:
    storage, kills = sys.argv[1], int(sys.argv[2])
    if len(sys.argv) > 3:
        together(storage, int(sys.argv[3]))
    rng, killed = random.Random(5), 0
    while killed < kills:
        child = os.fork()
        if not child:
            one(storage, rng.randint(1, 5), rng.uniform(0, 0.03))
            os._exit(0)
        rng.random(), rng.random()  # skips the numbers that the child draws
        if os.WIFEXITED(os.waitpid(child, 0)[1]):
            sys.exit(f"the search was over after {killed} kills")
        killed += 1
    history = one(storage, -1, 0)
    names = ("accuracy", "std", "seconds", "reward", "fidelity")
    rows = {name: np.nan_to_num(getattr(history, name), posinf=0, neginf=-1) for name in names}
    print(
        json.dumps(
            {
                "genotypes": history.genotypes.tolist(),
                "error": history.error.tolist(),
                "seed": history.seed.tolist(),
                "curves": [list(map(list, curve)) for curve in history.curves],
                **{name: values.tolist() for name, values in rows.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
