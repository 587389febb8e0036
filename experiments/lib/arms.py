"""Arms of experiments that train: run side by side, recorded and resumed.

An arm is a name and a seed. Each runs in a process of a pool (`train.cluster.jobs`) with its share
of the processors and writes `<arm>-<seed>.json` into a work folder when it ends; an arm that was
interrupted resumes from its checkpoint. The result file is written after every arm, with
`"partial": true` until the last one has ended. Ctrl-C and SIGTERM also end the arms. Rerun the
command to resume, also on another machine: arms in a partial result file of the same settings are
not run again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from experiments.lib.arguments import Options, Parser, experiment_arguments
from experiments.lib.common import RESULTS, is_installed, settings_of_machine
from train.cluster.jobs import run_jobs
from train.cluster.place import Place
from train.recipe import NORM_STATISTICS
from vbs.accuracy import accuracy_error
from vbs.console import print_err
from vbs.failures import Failure, reason_of
from vbs.folder import write_json
from vbs.lock import owned
from vbs.processes import available_cpus

Arm = tuple[str, int]
K = TypeVar("K")


def side_by_side(
    function: Callable[[K], Any], tasks: Sequence[K], processes: int, *, gpus: float = 0.0
) -> Iterator[K]:
    """Call a function for each task in processes, and yield the tasks as they end.

    function   defined in an importable module, or a closure (needs Ray); it writes its results into
               files.
    processes  number of processes at once, each with its share of the processors.
    gpus       share of a GPU for each, see `gpu_share`; with 0, processes of Ray see no GPU.

    Raises Failure for a task that failed, and ends the running ones.
    """
    if not _has_ray():
        yield from in_processes(function, tasks, processes)
        return
    threads = max(1, available_cpus() // processes)
    made = functools.partial(_made, function, os.getcwd())
    jobs = {task: task for task in tasks}
    place = Place(processes, cpus=threads, gpus=gpus)
    with contextlib.closing(run_jobs(made, jobs, place)) as ends:
        for task, outcome in ends:
            if outcome.reason:
                raise Failure(f"{_named(task)} failed: {outcome.reason}")
            yield task


def gpu_share(device: str, processes: int) -> float:
    """Return the share of the GPU for each process, in Ray's steps of 0.0001; 0 on a CPU."""
    return math.floor(10_000 / processes) / 10_000 if device.startswith("cuda") else 0.0


def _named(task: object) -> str:
    return f"arm {task[0]} of seed {task[1]}" if isinstance(task, tuple) else str(task)


def _has_ray() -> bool:
    return is_installed("ray")


def in_processes(function: Callable[[K], Any], tasks: Sequence[K], processes: int) -> Iterator[K]:
    """Like `side_by_side`, with Python's own processes: without Ray, and without closures.

    All processes see the GPU.
    """
    threads = max(1, available_cpus() // processes)
    spawn = multiprocessing.get_context("spawn")  # a forked process cannot use the GPU
    pool = ProcessPoolExecutor(processes, spawn, _limit_threads, (threads,))
    try:
        jobs = {pool.submit(function, task): task for task in tasks}
        for job in as_completed(jobs):
            if (error := job.exception()) is not None:
                raise Failure(f"{_named(jobs[job])} failed: {reason_of(error)}")
            yield jobs[job]
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # no effect on processes that have ended
        pool.shutdown(cancel_futures=True)


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _made(function: Callable[[K], Any], place: str) -> Callable[[K], Any]:
    """Return the function in a process of the pool, in the folder of the command."""
    os.chdir(place)
    return function


def arguments(description: str | None, *, name: str, seeds: Sequence[int]) -> Parser:
    """Return a parser with the options of all these experiments."""
    parser = experiment_arguments(description)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--processes", type=int, default=2, help="arms at once (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs") / name)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    return parser


def run_all(
    args: Options,
    arms: Sequence[Arm],
    run: Callable[[str, int, Path], dict[str, Any]],
    settings: dict[str, Any],
    summary: Callable[[dict[Arm, dict[str, Any]]], dict[str, Any]],
    *,
    only: Collection[Arm] | None = None,
) -> dict[str, Any]:
    """Run the arms that have no outcome yet; return the whole result.

    only     arms to run now; None: all.
    run      (name, seed, folder for checkpoints) -> outcome of an arm, as plain data.
    summary  function from the outcomes so far to a part of the result file.

    Raises ValueError if the work folder has outcomes of other settings or other data (`args.data`,
    identified by the last two parts of its path), or another process uses it.
    """
    if args.processes < 1:
        raise ValueError(f"--processes: {args.processes} is not allowed; use 1 or more")
    if hasattr(args, "data"):
        settings = {**settings, "data": _place(str(args.data))}
    settings = {**settings, "norm_statistics": NORM_STATISTICS}
    args.work.mkdir(parents=True, exist_ok=True)
    with owned(args.work, f"experiments.{Path(sys.argv[0]).stem}"):
        _check_same(args.work / "settings.json", settings)
        _take_up(args, arms, settings)
        result = _written(args, arms, settings, summary)
        wanted = arms if only is None else [arm for arm in arms if arm in only]
        missing = [arm for arm in wanted if not _file(args.work, arm).exists()]
        if missing:
            print_err(f"{len(missing)} of {len(arms)} arms are to be run")
        one = functools.partial(_run_one, args.work.resolve(), run)
        gpus = gpu_share(str(getattr(args, "device", "cpu")), args.processes)
        for name, seed in side_by_side(one, missing, args.processes, gpus=gpus):
            result = _written(args, arms, settings, summary)
            print_err(f"{name}, seed {seed}: finished")
        return result


def _written(
    args: Options,
    arms: Sequence[Arm],
    settings: dict[str, Any],
    summary: Callable[[dict[Arm, dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
    """Write the result file of the arms that have ended, and return its content."""
    done = {arm: _read(args.work, arm) for arm in arms if _file(args.work, arm).exists()}
    result = {
        "partial": len(done) < len(arms),
        "settings": settings,
        "processes": args.processes,
        **settings_of_machine(),
        **summary(done),
        "arms": list(done.values()),
    }
    write_json(args.out, result)
    return result


def by_data_set(
    done: Mapping[Arm, dict[str, Any]], names: Iterable[str], sets: Iterable[str]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the outcomes of all seeds of the arms "NAME on SET", by data set and name."""
    found = {}
    for of in sets:
        rows = {
            name: [row for (arm, _), row in done.items() if arm == f"{name} on {of}"]
            for name in names
        }
        found[of] = {name: each for name, each in rows.items() if each}
    return found


def each_seed(names: Sequence[str], seeds: Sequence[int]) -> list[Arm]:
    """Return all arms of the first seed, then of the next, so that partial results are useful."""
    return [(name, seed) for seed in seeds for name in names]


def mean_and_sd(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation (of a sample; None for one value) and number of seeds."""
    sd = round(float(np.std(values, ddof=1)), 3) if len(values) > 1 else None
    return {"mean": round(float(np.mean(values)), 3), "sd": sd, "seeds": len(values)}


def top1_with_error(row: Mapping[str, Any], images: int) -> str:
    """Return a mean accuracy of `mean_and_sd` with its error, such as "61.4 ± 0.5%".

    The error is that of the seeds and of the images on which all were scored
    (`vbs.accuracy.mean_error`).
    """
    spread = (row["sd"] or 0.0) ** 2 / row["seeds"]
    error = (spread + float(accuracy_error(row["mean"], images)) ** 2) ** 0.5
    return f"{row['mean']:.1f} ± {error:.1f}%"


def _take_up(args: Options, arms: Sequence[Arm], settings: dict[str, Any]) -> None:
    """Copy outcomes of a partial result file into a work folder that lacks them."""
    if not args.out.exists():
        return
    known = json.loads(args.out.read_text())
    if not known["partial"] or known["settings"] != json.loads(json.dumps(settings)):
        return
    for outcome in known["arms"]:
        arm = (outcome["arm"], outcome["seed"])
        if arm in arms and not _file(args.work, arm).exists():
            write_json(_file(args.work, arm), outcome)


def _run_one(work: Path, run: Callable[[str, int, Path], dict[str, Any]], arm: Arm) -> None:
    """Run one arm, in a process of its own; its outcome is written to a file."""
    name, seed = arm
    folder = work / f"{name}-{seed}"
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    outcome = run(name, seed, folder)
    own = {"arm": name, "seed": seed, "wall_seconds": round(time.monotonic() - started, 1)}
    write_json(_file(work, arm), outcome | own)


def _file(work: Path, arm: Arm) -> Path:
    return work / f"{arm[0]}-{arm[1]}.json"


def _read(work: Path, arm: Arm) -> dict[str, Any]:
    return json.loads(_file(work, arm).read_text())


def _place(data: str) -> str:
    """Return the last two parts of the path in --data, however it is written."""
    kind, colon, rest = data.rpartition(":")
    path = Path(rest).resolve()
    return f"{kind}{colon}{'/'.join(path.parts[-2:])}" if path.exists() else data


def _check_same(path: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError if the work folder has outcomes of other settings.

    Settings that it does not know, such as those of added arms, are allowed.
    """
    settings = json.loads(json.dumps(settings))
    if path.exists():
        known = json.loads(path.read_text())
        other = [name for name in known if known[name] != settings.get(name)]
        if other:
            raise ValueError(
                f"{path.parent} holds arms of other settings ({', '.join(other)}); "
                "use another --work"
            )
    write_json(path, settings)
