"""Experiments that train: their arms, one for each seed, run side by side and resumed.

An arm is a name and a seed. Each runs in a process of its own with its share of the processors,
which writes `<arm>-<seed>.json` into a work folder when it is done; an arm that was killed goes on
from its checkpoint. The result file is written anew after every arm, and says `"partial": true`
until the last one is in. Ctrl-C and SIGTERM end the arms too; the same command goes on, on another
machine too: what a partial result file of the same settings holds is not run again.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import Options, Parser, experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from train.recipe import NORM_STATISTICS
from vbs import signals
from vbs.accuracy import accuracy_error
from vbs.children import child_environment
from vbs.command import INTERRUPTED, MISTAKE, Failure
from vbs.console import print_err
from vbs.folder import write_json
from vbs.lock import FILE as LOCK
from vbs.lock import owned
from vbs.processes import available_cpus

Arm = tuple[str, int]


class Children:
    """Processes of this program that do not outlive it; made by `children`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[str]] = []
        self._ended = False

    def start(
        self, module: str, texts: Sequence[str], *, threads: int, **streams: Any
    ) -> subprocess.Popen[str]:
        """`python -m module texts`, from a thread that outlives it. ValueError after the end."""
        environment = child_environment(OMP_NUM_THREADS=str(threads))
        with self._lock:
            if self._ended:
                raise ValueError("interrupted")
            process = subprocess.Popen(
                [sys.executable, "-m", module, *texts], env=environment, text=True,
                start_new_session=True, **streams,  # so a terminal's Ctrl-C reaches us alone
            )  # fmt: skip
            self._started.append(process)
        return process

    def end(self) -> None:
        """Terminate those that still run, and wait until they have gone."""
        with self._lock:
            self._ended = True
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def children() -> Iterator[Children]:
    """Children that end with the block, however it ends.

    To be entered by the main thread, after a pool of threads that wait for the children.
    """
    started = Children()
    try:
        yield started
    finally:
        with signals.deferred():
            started.end()


def check_ended(code: int, failed: str) -> None:
    """Return where the exit code of a command of ours is 0. Else raise KeyboardInterrupt where it
    was interrupted, ValueError with these words where it refused, Failure where it failed."""
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise (ValueError if code == MISTAKE else Failure)(f"{failed} (exit code {code})")


def arguments(description: str | None, *, name: str, seeds: Sequence[int]) -> Parser:
    """A parser of what all these experiments take."""
    parser = experiment_arguments(description)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--processes", type=int, default=2, help="arms at once (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs") / name)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument("--only", metavar="ARM:SEED", help="run one arm in this process")
    return parser


def run_all(
    args: Options,
    arms: Sequence[Arm],
    run: Callable[[str, int, Path], dict[str, Any]],
    settings: dict[str, Any],
    summary: Callable[[dict[Arm, dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any] | None:
    """Run the arms that have no outcome yet; the whole result, or None for --only.

    run      (name, seed, folder for checkpoints) -> outcome of an arm, as plain data.
    summary  of the outcomes so far, for the result file.

    Raises ValueError where the work folder has outcomes of other settings, or of other data
    (`args.data`, known by the last two parts of its path), or another process works there.
    """
    if args.processes < 1:
        raise ValueError(f"--processes: {args.processes} is not allowed; use 1 or more")
    if hasattr(args, "data"):
        settings = {**settings, "data": _place(str(args.data))}
    settings = {**settings, "norm_statistics": NORM_STATISTICS}
    args.work.mkdir(parents=True, exist_ok=True)
    program = Path(sys.argv[0]).stem
    # an arm has a lock of its own beside that of the command that starts it
    name = f"{args.only.replace(':', '-')}.owner.json" if args.only else LOCK
    with owned(args.work, f"experiments.{program}", name=name):
        _check_same(args.work / "settings.json", settings)
        _take_up(args, arms, settings)
        if args.only:
            _run_one(args, run)
            return None
        return _run_arms(args, arms, settings, summary)


def _run_arms(
    args: Options,
    arms: Sequence[Arm],
    settings: dict[str, Any],
    summary: Callable[[dict[Arm, dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
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


def mean_and_sd(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation (of a sample; None for one value) with the number of seeds."""
    sd = round(float(np.std(values, ddof=1)), 3) if len(values) > 1 else None
    return {"mean": round(float(np.mean(values)), 3), "sd": sd, "seeds": len(values)}


def top1_with_error(row: Mapping[str, Any], images: int) -> str:
    """A mean accuracy of `mean_and_sd` with its error, of seeds and of the images that all were
    scored on (`vbs.accuracy.mean_error`): "61.4 ± 0.5%"."""
    spread = (row["sd"] or 0.0) ** 2 / row["seeds"]
    error = (spread + float(accuracy_error(row["mean"], images)) ** 2) ** 0.5
    return f"{row['mean']:.1f} ± {error:.1f}%"


def _take_up(args: Options, arms: Sequence[Arm], settings: dict[str, Any]) -> None:
    """Outcomes of a partial result file whose work folder has gone, as a clone's has."""
    if args.only or not args.out.exists():
        return
    known = json.loads(args.out.read_text())
    if not known["partial"] or known["settings"] != json.loads(json.dumps(settings)):
        return
    for outcome in known["arms"]:
        arm = (outcome["arm"], outcome["seed"])
        if arm in arms and not _file(args.work, arm).exists():
            write_json(_file(args.work, arm), outcome)


def _run_one(args: Options, run: Callable[[str, int, Path], dict[str, Any]]) -> None:
    """The arm of --only, in this process."""
    name, seed = args.only.rsplit(":", 1)
    folder = args.work / f"{name}-{seed}"
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    outcome = run(name, int(seed), folder)
    write_json(_file(args.work, (name, int(seed))), outcome | {
        "arm": name, "seed": int(seed), "wall_seconds": round(time.monotonic() - started, 1),
    })  # fmt: skip


def _run_missing(args: Options, arms: list[Arm], finished: Callable[[], None]) -> None:
    """Start arms as processors become free; see `check_ended` where one fails."""
    threads = max(1, available_cpus() // args.processes)
    module = sys.modules["__main__"].__spec__
    assert module is not None
    running: dict[subprocess.Popen[str], Arm] = {}
    waiting = list(arms)
    with children() as processes:
        while waiting or running:
            while waiting and len(running) < args.processes:
                arm = waiting.pop(0)
                print_err(f"{arm[0]}, seed {arm[1]}: begins")
                texts = [*sys.argv[1:], "--only", f"{arm[0]}:{arm[1]}"]
                process = processes.start(module.name, texts, threads=threads, stdout=sys.stderr)
                running[process] = arm
            time.sleep(0.5)
            for process in [process for process in running if process.poll() is not None]:
                name, seed = running.pop(process)
                check_ended(process.returncode, f"arm {name} of seed {seed} failed")
                finished()


def _file(work: Path, arm: Arm) -> Path:
    return work / f"{arm[0]}-{arm[1]}.json"


def _read(work: Path, arm: Arm) -> dict[str, Any]:
    return json.loads(_file(work, arm).read_text())


def _place(data: str) -> str:
    """The last two parts of the path that a --data names, whichever way it is written."""
    kind, colon, rest = data.rpartition(":")
    path = Path(rest).resolve()
    return f"{kind}{colon}{'/'.join(path.parts[-2:])}" if path.exists() else data


def _check_same(path: Path, settings: dict[str, Any]) -> None:
    """Outcomes of other settings must not be mixed in."""
    settings = json.loads(json.dumps(settings))
    if path.exists():
        known = json.loads(path.read_text())
        if "data" in settings:
            known.setdefault("data", settings["data"])  # not noted by earlier versions
        other = [name for name in {**known, **settings} if known.get(name) != settings.get(name)]
        if other:
            raise ValueError(
                f"{path.parent} holds arms of other settings ({', '.join(other)}); "
                "give another --work"
            )
    write_json(path, settings)
