"""What does the default search cost, and how far from the optimum does it end?

Measures `python -m nas.search --target-flops 400M` as a whole process, cold (seconds, processor
seconds, memory, networks evaluated); the same with a budget of 4 million (memory, size of
history.parquet); `--help` of `vbs` and of some commands; the regret: the best reward of twenty
searches that are ten times as long, minus the reward of the default search, for five seeds; the
networks found in comparison with EfficientNet-B0 under the surrogate; and the microseconds of a
proposal of `evolution` in a search of a million evaluations.

Expected: 2 s, 200 MiB, at least 300,000 networks; 4 million in less than 500 MB, and 60 MB on disk;
regret at most 0.05 points. Processes are cold, but have the bytecode of an installed package;
processor seconds depend least on other load. The most accurate network within B0's FLOPs is 0.83
points above B0: no network of the space reaches the goal of 1 point by the surrogate.
Time: about 10 minutes on 2 cores.

    python -m experiments.search_cost

`--parts process,help,long` measures these parts again and keeps the others.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.search_cost")

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.strategy_runs import Timed
from nas import catalog
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import Objective
from nas.search.loop import LoopOptions, search
from search_spaces.catalog import space
from vbs.console import print_err, print_out
from vbs.folder import write_json
from vbs.text import one_of

TARGET = 400e6
LONG_SEEDS = range(100, 120)
SEEDS = range(5)
HELPS = ("vbs", "nas.search", "scaling.family", "train.run")


class Spent(NamedTuple):
    """Seconds, processor seconds (user and system) and peak memory of a process."""

    wall_seconds: float
    processor_seconds: float
    peak_mebibytes: float


def run_process(words: Sequence[str], bytecode: Path) -> Spent:
    """Run a command with this interpreter; its bytecode is kept in a folder."""
    hidden = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"{' '.join(words)} failed: {said.decode()[-500:]}")
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def medians(
    words: Sequence[str], bytecode: Path, *, runs: int, folders: Path | None = None
) -> dict[str, Any]:
    """Return medians over runs of a command, after one uncounted run.

    folders  where each run gets a numbered folder, passed as the last word of its command.
    """
    commands = [
        [*words, *([] if folders is None else [str(folders / str(n))])] for n in range(runs + 1)
    ]
    spent = [run_process(command, bytecode) for command in commands][1:]
    columns = dict(zip(Spent._fields, zip(*spent, strict=True), strict=True))
    found: dict[str, Any] = {
        f"{name}_median": round(float(np.median(values)), 3) for name, values in columns.items()
    }
    return found | {name: [round(value, 3) for value in columns[name]] for name in columns}


def whole_process(runs: int = 5) -> dict[str, Any]:
    """Measure the default command as a user starts it."""
    words = ["-m", "nas.search", "--target-flops", "400M", "--out"]
    with tempfile.TemporaryDirectory() as folder:
        found = medians(words, Path(folder, "bytecode"), runs=runs, folders=Path(folder))
        out = Path(folder, str(runs))
        outcome = json.loads((out / "search.json").read_text())["outcome"]
        best = json.loads((out / "best.json").read_text())
        size = (out / "history.parquet").stat().st_size
    names = ("key", "flops", "accuracy", "reward")
    return {
        **found,
        "evaluated": outcome["evaluated"],
        "best": {name: best[name] for name in names},
        "parquet_bytes_a_network": round(size / outcome["evaluated"], 2),
    }


def long_process(networks: int = 4_000_000) -> dict[str, Any]:
    """Measure the default search with ten times the budget: memory, and its history's file."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "nas.search", "--target-flops", "400M", "--budget", str(networks), "--out"]
        spent = run_process([*words, f"{folder}/run"], Path(folder, "bytecode"))
        size = Path(folder, "run", "history.parquet").stat().st_size
    return {
        "networks": networks,
        **{name: round(value, 1) for name, value in spent._asdict().items()},
        "parquet_megabytes": round(size / 1e6, 1),
    }


def help_processes(runs: int = 7) -> dict[str, Any]:
    """Measure `--help` of `vbs` and of some commands."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            module: medians(["-m", module, "--help"], Path(folder), runs=runs) for module in HELPS
        }


def one_search(evaluator: Evaluator, objective: Objective, seed: int, budget: int) -> History:
    """Run a search with the settings of the command line."""
    the_space = space("efficientnet")
    strategy = catalog.strategy("evolution", the_space, objective)
    return search(the_space, evaluator, objective, strategy, budget, LoopOptions(seed=seed))


def regret(evaluator: Evaluator) -> dict[str, Any]:
    """Return the best reward of the long searches minus that of the default ones, in points."""
    objective, budget = Objective(TARGET), catalog.STRATEGIES["evolution"].budget
    long = []
    for seed in LONG_SEEDS:
        history = one_search(evaluator, objective, seed, 10 * budget)
        long.append(float(history.reward.max()))
        print_err(f"long search {seed}: reward {long[-1]:.4f}")
    best = max(long)
    usual = [one_search(evaluator, objective, seed, budget).reward.max() for seed in SEEDS]
    return {
        "best_of_long_searches": round(best, 4),
        "long_searches": [round(value, 4) for value in long],
        "regret_by_seed": [round(best - float(value), 4) for value in usual],
    }


def beside_b0(evaluator: Evaluator) -> dict[str, Any]:
    """Return the most accurate network within B0's FLOPs, and B0, under the surrogate."""
    the_space = space("efficientnet")
    b0 = the_space.encode(the_space.references["EfficientNet-B0"])[None]
    flops = int(the_space.costs(b0).flops[0])
    answer = evaluator.evaluate(the_space, b0)
    usual = one_search(evaluator, Objective(TARGET), 0, catalog.STRATEGIES["evolution"].budget)
    under = usual.accuracy[usual.costs.flops <= flops].max()
    aimed = one_search(evaluator, Objective(flops, "feasible"), 0, 2_000_000)
    row = aimed.best()
    return {
        "b0": [round(float(answer.accuracy[0]), 3), round(float(answer.std[0]), 3)],
        "default_search_under_b0_flops": round(float(under), 3),
        "aimed_search_under_b0_flops": [
            round(float(aimed.accuracy[row]), 3),
            round(float(aimed.std[row]), 3),
        ],
    }


def million(evaluator: Evaluator) -> dict[str, Any]:
    """Return the microseconds of `evolution.propose` for each network in a search of a million."""
    the_space, objective = space("efficientnet"), Objective(TARGET)
    strategy = catalog.strategy("evolution", the_space, objective)

    timed = Timed(strategy)
    start = time.perf_counter()
    history = search(the_space, evaluator, objective, timed, 1_000_000)
    whole = time.perf_counter() - start
    return {
        "proposal_microseconds": round(1e6 * timed.seconds / len(history), 3),
        "whole_loop_microseconds": round(1e6 * whole / len(history), 3),
    }


def surrogate() -> Evaluator:
    """Return the evaluator of the default search."""
    return catalog.evaluator("surrogate", space("efficientnet"))


# name of a part -> (its name in the result file, the function that measures it)
PARTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "process": ("whole_process", whole_process),
    "help": ("help", help_processes),
    "long": ("four_million", long_process),
    "million": ("evolution_at_a_million", lambda: million(surrogate())),
    "b0": ("beside_b0", lambda: beside_b0(surrogate())),
    "regret": ("regret", lambda: regret(surrogate())),
}


def main() -> int:
    """Measure the parts, write experiments/results/search_cost.json, print it."""
    parser = experiment_arguments(__doc__)
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="parts to measure, comma-separated"
    )
    settings = {
        "target_flops": TARGET,
        "reward": "mnas",
        "exponent": -0.07,
        "space": "efficientnet",
    }
    path = RESULTS / "search_cost.json"
    result = json.loads(path.read_text()) if path.is_file() else {}
    result |= {"settings": settings, **settings_of_machine()}
    for part in parser.parse_args().parts.split(","):
        name, measure = PARTS[one_of("parts", part, PARTS)]
        result[name] = measure()
        write_json(path, result)
    print_out(*json.dumps(result, indent=1).splitlines())
    return 0
