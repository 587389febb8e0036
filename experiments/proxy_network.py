"""A search for the small network of the training experiments: 32 px images on a CPU.

What: evolution (a population of 10) in the compact space: four stages at 16, 8, 4 and 4 px, each
MBConv or Fused-MBConv with its own expansion, layers and width, within 4.2M FLOPs at 32 px. Each
network is trained on CIFAR-10 for 20 seconds of one processor and scored on images held out of the
training set. Trainings have equal processor time, not equal epochs, because the network should be
fast: deep networks of thin layers, 5 x 5 depthwise kernels and squeeze-and-excitation take a CPU
longer than their FLOPs suggest. (Two earlier searches, in the spaces efficientnet and
efficientnetv2 at half width, ended at 43% and 45%, where this one begins: networks of their depth
learn little in 20 seconds.)
Measured: results/proxy_network.json. Time: 10 minutes on 2 CPU cores. Command:

    python -m experiments.proxy_network --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.proxy_network")

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import settings_of_machine
from experiments.lib.networks import PROXY_FLOPS, PROXY_RESULT
from nas.history import History
from nas.objective import Objective
from nas.search.loop import LoopOptions, search
from nas.strategies.evolution import Evolution
from search_spaces.catalog import space
from vbs.console import print_out
from vbs.folder import write_json


def result_of(history: History, settings: dict[str, Any], *, partial: bool) -> dict[str, Any]:
    """Return the content of the result file: the best network, and all networks."""
    row = history.best()
    best = history.space.decode(history.genotypes[row])
    return {
        "partial": partial,
        "settings": settings,
        **settings_of_machine(),
        "best": {
            "architecture": json.loads(best.to_json()),
            "key": best.key,
            "flops": int(history.costs.flops[row]),
            "params": int(history.costs.params[row]),
            "minival_top1": round(float(history.accuracy[row]), 2),
            "choices": history.space.choices_of(history.genotypes[row]),
        },
        "evaluated": [
            {
                "choices": history.space.choices_of(genotype),
                "flops": int(history.costs.flops[index]),
                "minival_top1": round(float(history.accuracy[index]), 2),
                "cpu_seconds": round(float(history.seconds[index]), 1),
                "error": history.error[index],
            }
            for index, genotype in enumerate(history.genotypes)
        ],
    }


def main() -> None:
    """Search, and write the result after every batch."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--budget", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PROXY_RESULT)
    args = parser.parse_args()
    from experiments.lib.timed_training import TimedTraining  # which imports torch

    the_space = space("compact", resolution=32, classes=10, small_images=True)
    objective = Objective(PROXY_FLOPS, "feasible", over_target="forbid")
    strategy = Evolution(population=10, tournament=4)
    evaluator = TimedTraining(args.data, seconds=args.seconds, processes=args.processes)
    settings = {
        "space": {name: list(options) for name, options in the_space.choices.items()},
        "limit_flops": PROXY_FLOPS,
        "strategy": dataclasses.asdict(strategy),
        "budget": args.budget,
        "seconds": args.seconds,
        "seed": args.seed,
    }

    def record(history: History) -> None:
        partial = len(history) < args.budget
        write_json(args.out, result_of(history, settings, partial=partial))
        print_out(f"{len(history)} of {args.budget}: best {history.accuracy.max():.2f}%")

    search(
        the_space,
        evaluator,
        objective,
        strategy,
        args.budget,
        LoopOptions(seed=args.seed, record=record, workers=args.processes),
    )
