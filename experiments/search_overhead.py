"""The overhead of the search loop: idle time of workers, and time of the driver per evaluation.

What: (a) 32 evaluations that sleep one second, on 8 processes of a local Ray with 8 declared
processors, recorded in an sqlite study; the ideal is 4 s, counted from when the processes are up.
(b) 300 evaluations that take no time, in this process, with the same kind of study: the measured
time is that of the loop, the strategy and the database. Expected: (a) within 1.25 times the ideal,
(b) less than 20 ms each. Measured: results/search_overhead.json. Time: a minute. Command:

    python -m experiments.search_overhead
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.search_overhead")

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.sleeping import Sleeping
from nas import catalog
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.workers import InProcess, OnCluster, Workers
from nas.storage.study import open_study
from nas.storage.study_settings import SearchIdentity
from search_spaces.catalog import space
from train.cluster.place import Place
from vbs.console import print_out
from vbs.folder import write_json

RESULT = RESULTS / "search_overhead.json"
TRIALS, SLOTS, SECONDS = 32, 8, 1.0
MANY = 300


def timed_search(workers: Workers, strategy: str, budget: int, folder: Path) -> dict[str, float]:
    """Return the seconds and the driver's processor seconds of a search with a study."""
    the_space, objective = space("efficientnet"), Objective(400e6)
    history = History(the_space, objective)
    chosen = catalog.strategy(strategy, the_space, objective)
    storage = f"sqlite:///{folder / 'study.db'}"
    with open_study(
        storage, "overhead", SearchIdentity(the_space, objective), resume=False
    ) as study:
        wall, processor = time.perf_counter(), time.process_time()
        search_asynchronously(history, chosen, workers, Plan(budget), study=study)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    assert history.full.sum() == budget
    return {"seconds": round(wall, 3), "processor_seconds": round(processor, 3)}


def waiting() -> dict[str, Any]:
    """Measure (a): evaluations that sleep, on processes that are up."""
    workers = OnCluster(Sleeping, space("efficientnet"), Sleeping(), Place(SLOTS))
    try:
        started = time.perf_counter()
        while workers.capacity < SLOTS:
            workers.wait(1.0)
        up = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            found = timed_search(workers, "random", TRIALS, Path(folder))
    finally:
        workers.close()
    ideal = TRIALS * SECONDS / SLOTS
    return found | {
        "trials": TRIALS,
        "processes": SLOTS,
        "ideal_seconds": ideal,
        "over_ideal": round(found["seconds"] / ideal, 3),
        "seconds_until_up": round(up, 1),
    }


def driving(strategy: str) -> dict[str, Any]:
    """Measure (b): evaluations that take no time."""
    with tempfile.TemporaryDirectory() as folder:
        workers = InProcess(Sleeping(0.0), space("efficientnet"))
        found = timed_search(workers, strategy, MANY, Path(folder))
    each = 1e3 * found["seconds"] / MANY
    return found | {"trials": MANY, "milliseconds_each": round(each, 2)}


def main() -> None:
    """Measure and write the result."""
    experiment_arguments(__doc__).parse_args()
    result = {
        "settings": {"seconds": SECONDS, "storage": "sqlite"},
        **settings_of_machine(),
        "sleeping": waiting(),
        "driver": {strategy: driving(strategy) for strategy in ("random", "predictor")},
    }
    write_json(RESULT, result)
    print_out(
        *json.dumps({name: result[name] for name in ("sleeping", "driver")}, indent=2).splitlines()
    )
