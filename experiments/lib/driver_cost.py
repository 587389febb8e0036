"""Processor time of the drivers of a search: the parts of `experiments.thousand_workers`."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.filled_study import fill
from experiments.lib.simulated_cluster import EPOCHS, Curves, Nodes, Watched
from nas import catalog
from nas.asha import Asha
from nas.evaluators.surrogate import load_surrogate
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.workers import Simulated
from nas.storage.study import open_study
from nas.storage.study_settings import SearchIdentity
from search_spaces.catalog import space

TARGET = 400e6
SLOTS = 8  # trainings of a node
HOURLY = 0.1  # share of the nodes that leave in an hour
LATE = 10_000  # rows from which proposals are timed; at most half of the trainings
PROCESSES, OF_A_DRIVER = 5, 20  # processes of the many drivers, and workers of each driver
PROGRAM = "from experiments.lib import driver_cost; driver_cost.some_drivers({!r}, {!r}, {}, {})"


def peak_megabytes() -> int:
    """Return the peak memory of this process in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def one_driver(strategy: str, *, workers: int, trainings: int, asha: bool) -> dict[str, Any]:
    """Run a search on simulated nodes, with its study in an sqlite file."""
    the_space, objective = space("efficientnet"), Objective(TARGET)
    load_surrogate("imagenet")
    history = History(the_space, objective)
    watched = Watched(catalog.strategy(strategy, the_space, objective))
    nodes = Nodes(Curves(the_space), max(1, workers // SLOTS), SLOTS, hourly=HOURLY)
    plan = Plan(trainings, asha=Asha(len(EPOCHS)) if asha else None)
    marks: list[tuple[int, float]] = []

    def mark(history: History) -> None:
        marks.append((len(history), time.process_time() - nodes.spent))

    with tempfile.TemporaryDirectory() as folder:
        identity = SearchIdentity(the_space, objective)
        with open_study(f"sqlite:///{folder}/study.db", "one", identity, resume=False) as study:
            began = time.process_time() - nodes.spent
            status = search_asynchronously(history, watched, nodes, plan, study=study, record=mark)
            whole = time.process_time() - nodes.spent - began
    late = [call for call in watched.calls if call[0] >= min(LATE, trainings // 2)]
    return {
        "status": status,
        "strategy": strategy,
        "asha": asha,
        "workers": workers,
        "trainings": trainings,
        "driver_milliseconds_each": round(1e3 * whole / trainings, 2),
        "by_quarter": _by_quarter(marks, began, trainings),
        "proposals": _proposals(late),
        "peak_megabytes": peak_megabytes(),
        "virtual_hours": round(nodes.now / 3600, 1),
        "simulation_seconds": round(nodes.spent, 1),
        "nodes_lost": nodes.lost_nodes,
        "restarted": nodes.restarts,
        **_counts(history, trainings),
    }


def _by_quarter(marks: list[tuple[int, float]], began: float, trainings: int) -> list[float]:
    """Return processor milliseconds of the driver for each training, by quarters of the search."""
    rows, times = (np.array([0, *column]) for column in zip(*marks, strict=True))
    times = np.array([began, *times[1:]], np.float64)
    ends = [trainings * quarter // 4 for quarter in range(5)]
    at = np.interp(ends, rows, times)
    return [round(1e3 * float(each) / (trainings / 4), 2) for each in np.diff(at)]


def _proposals(calls: list[tuple[int, int, float]]) -> dict[str, float]:
    """Return median processor milliseconds of a proposal, and of each network in it."""
    seconds = np.array([each for _, _, each in calls])
    counts = np.maximum(1, np.array([count for _, count, _ in calls]))
    return {
        "calls": len(calls),
        "networks_median": float(np.median(counts)),
        "milliseconds_a_call": round(1e3 * float(np.median(seconds)), 2),
        "milliseconds_each": round(1e3 * float(np.median(seconds / counts)), 2),
    }


def _counts(history: History, trainings: int) -> dict[str, int]:
    """Return the numbers of lost and repeated trainings."""
    return {
        "lost": trainings - history.networks,
        "repeated": len(history) - history.networks,
        "stopped_early": int((history.fidelity < 1).sum()),
        "failed": int((history.error != "").sum()),
    }


def resumed(*, rows: int) -> dict[str, Any]:
    """Measure opening a study with many finished trainings and reading it into a history."""
    the_space, objective = space("efficientnet"), Objective(TARGET)
    identity = SearchIdentity(the_space, objective)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "study.db")
        code = "from experiments.lib import driver_cost; driver_cost.filled({!r}, {})"
        subprocess.run([sys.executable, "-c", code.format(str(path), rows)], check=True)
        history = History(the_space, objective)
        wall, began = time.perf_counter(), time.process_time()
        with open_study(f"sqlite:///{path}", "filled", identity, resume=True) as study:
            study.retry_failed(lambda reason: False)  # as a resumed search does
            study.sync(history)
            spent, wall = time.process_time() - began, time.perf_counter() - wall
            size = path.stat().st_size
    return {
        "rows": rows,
        "processor_seconds": round(spent, 1),
        "wall_seconds": round(wall, 1),
        "peak_megabytes": peak_megabytes(),
        "file_megabytes": round(size / 2**20),
        **_counts(history, rows),
    }


def filled(path: str, rows: int) -> None:
    """Create a study with many finished trainings, in a process of its own."""
    the_space, objective = space("efficientnet"), Objective(TARGET)
    identity = SearchIdentity(the_space, objective)
    open_study(f"sqlite:///{path}", "filled", identity, resume=False).close()
    fill(Path(path), identity, rows, Curves(the_space))


def many_drivers(url: str, *, drivers: int, trainings: int) -> dict[str, Any]:
    """Run drivers in several processes on one database; the first process is killed half-way."""
    name, each = f"many-{uuid.uuid4().hex[:8]}", drivers // PROCESSES
    the_space, objective = space("efficientnet"), Objective(TARGET)
    identity, history = SearchIdentity(the_space, objective), History(the_space, objective)
    with open_study(url, name, identity, resume=False) as study:
        command = [sys.executable, "-c", PROGRAM.format(url, name, each, trainings)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        processes = [subprocess.Popen(command) for _ in range(PROCESSES)]
        try:
            while len(history) < trainings // 2 and processes[0].poll() is None:
                time.sleep(0.5)
                study.beat()
                study.sync(history)
            processes[0].send_signal(signal.SIGKILL)
            at = len(history)
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        wall = time.perf_counter() - began
        study.sync(history)
        left = len(history.pending)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "drivers": PROCESSES * each,
        "processes": PROCESSES,
        "workers": PROCESSES * each * OF_A_DRIVER,
        "trainings": trainings,
        "killed_at": at,
        "exit_codes": codes,
        "wall_seconds": round(wall, 1),
        "drivers_milliseconds_each": round(1e3 * spent / trainings, 2),
        "unfinished": left,
        **_counts(history, trainings),
    }


def some_drivers(url: str, name: str, count: int, trainings: int) -> None:
    """Run some drivers of a study in this process, one thread each."""
    failures: list[BaseException] = []

    def drive(seed: int) -> None:
        try:
            _drive(url, name, seed, trainings)
        except BaseException as error:
            failures.append(error)
            raise

    seeds = np.random.default_rng(os.getpid()).integers(0, 2**31, count).tolist()
    threads = [threading.Thread(target=drive, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(1 if failures else 0)


def _drive(url: str, name: str, seed: int, trainings: int) -> None:
    """Run one driver with its own workers and its own seed."""
    the_space, objective = space("efficientnet"), Objective(TARGET)
    history = History(the_space, objective)
    strategy = catalog.strategy("random", the_space, objective)
    workers = Simulated(Curves(the_space), capacity=OF_A_DRIVER, steps=len(EPOCHS))
    with open_study(url, name, SearchIdentity(the_space, objective), resume=True) as study:
        plan = Plan(trainings, seed=seed)
        search_asynchronously(history, strategy, workers, plan, study=study)
