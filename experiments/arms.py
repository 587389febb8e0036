"""Experiments that train: their arms, one for each seed, run side by side and resumed.

An arm is a name and a seed. Each runs in a process of its own with its share of the processors,
which writes `<arm>-<seed>.json` into a work folder when it is done; an arm that was killed goes on
from its checkpoint. The result file is written anew after every arm, and says `"partial": true`
until the last one is in.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import RESULTS, settings_of_machine
from train.files import write_json

Arm = tuple[str, int]


def arguments(
    description: str | None, *, name: str, seeds: Sequence[int]
) -> argparse.ArgumentParser:
    """A parser of what all these experiments take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--processes", type=int, default=2, help="arms at once (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs") / name)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument("--only", metavar="ARM:SEED", help="run one arm in this process")
    return parser


def run_all(
    args: argparse.Namespace,
    arms: Sequence[Arm],
    run: Callable[[str, int, Path], dict[str, Any]],
    settings: dict[str, Any],
    summary: Callable[[dict[Arm, dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any] | None:
    """Run the arms that have no outcome yet; the whole result, or None for --only.

    run      (name, seed, folder for checkpoints) -> outcome of an arm, as plain data.
    summary  of the outcomes so far, for the result file.
    """
    args.work.mkdir(parents=True, exist_ok=True)
    _check_same(args.work / "settings.json", settings)
    if args.only:
        name, seed = args.only.rsplit(":", 1)
        folder = args.work / f"{name}-{seed}"
        folder.mkdir(exist_ok=True)
        started = time.monotonic()
        outcome = run(name, int(seed), folder)
        write_json(args.work / f"{name}-{seed}.json", outcome | {
            "arm": name, "seed": int(seed), "wall_seconds": round(time.monotonic() - started, 1),
        })  # fmt: skip
        return None
    result: dict[str, Any] = {}

    def write() -> None:
        done = {arm: _read(args.work, arm) for arm in arms if _file(args.work, arm).exists()}
        result.clear()
        result.update({
            "partial": len(done) < len(arms), "settings": settings,
            "processes": args.processes, **settings_of_machine(),
            **summary(done), "arms": list(done.values()),
        })  # fmt: skip
        write_json(args.out, result)

    _run_missing(args, [arm for arm in arms if not _file(args.work, arm).exists()], write)
    write()
    return result


def each_seed(names: Sequence[str], seeds: Sequence[int]) -> list[Arm]:
    """All arms of the first seed, then of the next, so that a part is of use too."""
    return [(name, seed) for seed in seeds for name in names]


def mean_and_sd(values: Sequence[float]) -> dict[str, float | int]:
    """Mean and standard deviation (of a sample; 0 for one value) with the number of seeds."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": round(float(np.mean(values)), 3), "sd": round(sd, 3), "seeds": len(values)}


def _run_missing(args: argparse.Namespace, arms: list[Arm], finished: Callable[[], None]) -> None:
    """Start arms as processors become free; ValueError where one fails."""
    threads = str(max(1, (os.cpu_count() or 1) // args.processes))
    running: dict[subprocess.Popen, Arm] = {}
    waiting = list(arms)
    try:
        while waiting or running:
            while waiting and len(running) < args.processes:
                arm = waiting.pop(0)
                print(f"{arm[0]}, seed {arm[1]}: begins", file=sys.stderr, flush=True)
                running[_start(args, arm, threads)] = arm
            time.sleep(0.5)
            for process in [process for process in running if process.poll() is not None]:
                name, seed = running.pop(process)
                if process.returncode:
                    raise ValueError(f"arm {name} of seed {seed} failed ({process.returncode})")
                finished()
    finally:
        for process in running:
            process.terminate()


def _start(args: argparse.Namespace, arm: Arm, threads: str) -> subprocess.Popen:
    name, seed = arm
    module = sys.modules["__main__"].__spec__
    assert module is not None
    own = list(sys.argv[1:])
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    return subprocess.Popen(
        [sys.executable, "-m", module.name, *own, "--only", f"{name}:{seed}"],
        env=environment, stdout=sys.stderr,
    )  # fmt: skip


def _file(work: Path, arm: Arm) -> Path:
    return work / f"{arm[0]}-{arm[1]}.json"


def _read(work: Path, arm: Arm) -> dict[str, Any]:
    return json.loads(_file(work, arm).read_text())


def _check_same(path: Path, settings: dict[str, Any]) -> None:
    """Outcomes of other settings must not be mixed in."""
    if path.exists() and json.loads(path.read_text()) != json.loads(json.dumps(settings)):
        raise ValueError(f"{path.parent} holds arms of other settings; give another --work")
    write_json(path, settings)
