"""Recorded learning curves of random small networks on CIFAR-10, for replays of searches.

What: 48 networks are drawn uniformly from those of the compact space within 4M FLOPs at 32 px. Each
is trained for 9 epochs of a fifth of the images with the recipe `proxy` (`nas.evaluators.proxy`);
the moving average of its weights is scored on the minival after each epoch. The first 8 networks
are also trained with a second seed, which shows the variation between seeds. Seconds are processor
time of one thread, which depends little on other load.
Expected: 50 to 70% at the end, and a ranking after 3 epochs that mostly persists. Measured:
results/cifar10_curves.json. Time: an hour on 2 CPU cores; rerun the command to resume. Command:

    python -m experiments.cifar10_curves --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.cifar10_curves")

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arms import Arm, arguments, mean_and_sd, run_all
from experiments.lib.common import RESULTS
from experiments.lib.networks import COMPACT_FLOPS, compact_space
from nas.evaluators.proxy import Fidelity, Proxy, shared_data
from nas.history import History
from nas.objective import Objective
from nas.strategies.base import sample_fresh
from train.execution import Execution
from train.recipe import preset
from vbs.console import print_out

RESULT = RESULTS / "cifar10_curves.json"
NETWORKS, REPEATED = 48, 8
EPOCHS, SHARE = 9, 0.2
FIDELITY = f"epochs={EPOCHS},share={SHARE}"


def genotypes() -> np.ndarray:
    """Return the networks, int8 [NETWORKS, decisions]."""
    history = History(compact_space(), Objective(COMPACT_FLOPS, "feasible"))
    return sample_fresh(history, NETWORKS, np.random.default_rng(0))


def recorded(name: str, seed: int, data: str) -> dict[str, Any]:
    """Train one network; return its learning curve as plain data."""
    import torch

    the_space, genotype = compact_space(), genotypes()[int(name)]
    torch.set_num_threads(1)
    fidelity = Fidelity(EPOCHS, SHARE)
    recipe = preset("proxy")
    images = shared_data(data, recipe.minival)
    on_cpu = Execution(device="cpu")
    proxy = Proxy(images, recipe, fidelity, on_cpu, clock=time.process_time)
    curve = list(proxy.curve(the_space, genotype, seed=seed))
    costs = the_space.costs(genotype[None])
    return {
        "choices": the_space.choices_of(genotype),
        "flops": int(costs.flops[0]),
        "params": int(costs.params[0]),
        "accuracy": [round(point.accuracy, 2) for point in curve],
        "seconds": [round(point.seconds, 2) for point in curve],
    }


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the spread of the networks and the variation between seeds."""
    final = {arm: outcome["accuracy"][-1] for arm, outcome in done.items()}
    spread = [value for (_, seed), value in final.items() if seed == 0]
    pairs = [
        final[name, 0] - value
        for (name, seed), value in final.items()
        if seed == 1 and (name, 0) in final
    ]
    noise = float(np.sqrt(np.mean(np.square(pairs)) / 2)) if pairs else None
    return {
        "networks": mean_and_sd(spread) if spread else None,
        "seed_noise_sd": None if noise is None else round(noise, 3),
        "seconds": mean_and_sd([each["seconds"][-1] for each in done.values()]) if done else None,
    }


def main() -> None:
    """Record the missing curves."""
    parser = arguments(__doc__, name="cifar10_curves", seeds=[0])
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    names = [f"{index:02d}" for index in range(NETWORKS)]
    arms = [(name, 0) for name in names] + [(name, 1) for name in names[:REPEATED]]
    settings = {
        "space": "compact",
        "limit_flops": COMPACT_FLOPS,
        "recipe": "proxy",
        "fidelity": FIDELITY,
        "clock": "processor seconds of one thread",
    }

    def run(name: str, seed: int, folder: Path) -> dict[str, Any]:
        return recorded(name, seed, args.data)

    result = run_all(args, arms, run, settings, summary)
    shown = ("partial", "networks", "seed_noise_sd", "seconds")
    print_out(*json.dumps({name: result[name] for name in shown}, indent=2).splitlines())
