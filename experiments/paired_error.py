"""How much of the error of held-out images cancels when two networks are compared on them?

What: 5 random networks of the compact space within 4M FLOPs on CIFAR-10, each trained with two
seeds as in a search (5 epochs of a tenth of the images with the recipe `proxy`), all scored on the
same test images. Each training classifies each image correctly (1) or not (0). The correlation of
these values over the images is computed for pairs of seeds of one network and for pairs of
networks. The variance of a difference of accuracies on n images is 2 p (1 - p) (1 - correlation)
/ n; the part of it that seeds do not show is 2 p (1 - p) (correlation of seeds - correlation of
networks) / n; see `vbs.accuracy`.
Expected: networks of one space classify mostly the same images correctly; two seeds of one network
agree only slightly more. Measured: results/paired_error.json. Time: 8 minutes on one CPU core;
rerun the command to resume. Command:

    python -m experiments.paired_error --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.paired_error")

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arms import Arm, arguments, each_seed, run_all
from experiments.lib.networks import COMPACT_FLOPS, compact_space
from nas.evaluators.proxy import Fidelity, fitted, used_images
from nas.history import History
from nas.objective import Objective
from nas.strategies.base import sample_fresh
from train.execution import Execution
from train.recipe import preset
from vbs.console import print_out

NETWORKS, EPOCHS, SHARE = 5, 5, 0.1


def right(name: str, seed: int, data_text: str) -> dict[str, Any]:
    """Return which test images one training classifies correctly, as a text of 0 and 1."""
    import torch

    from train.data import load
    from train.evaluate import predict
    from train.loop import train
    from train.state import preparation, resolved

    torch.set_num_threads(1)
    history = History(compact_space(), Objective(COMPACT_FLOPS, "feasible"))
    genotypes = sample_fresh(history, NETWORKS, np.random.default_rng(0))
    network = compact_space().decode(genotypes[int(name)])
    fidelity = Fidelity(EPOCHS, SHARE)
    data = load(data_text, minival=0.02)
    recipe = fitted(preset("proxy"), fidelity, images=len(data.train))
    order = np.random.default_rng(0).permutation(len(data.train))
    used = np.sort(order[: used_images(fidelity, len(data.train))])
    seen = replace(data, train=data.train.select(used), test=None)
    result = train(network, seen, replace(recipe, seed=seed), execution=Execution(device="cpu"))
    assert result.network is not None
    assert data.test is not None
    how = preparation(resolved(recipe, network))
    found, targets = predict(result.network, data.test, how, device=torch.device("cpu"))
    hits = (found.argmax(1) == targets).int().tolist()
    return {"top1": round(100 * float(np.mean(hits)), 2), "right": "".join(map(str, hits))}


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return mean correlations of correctness between two seeds and between two networks."""
    hits = {arm: np.array([*map(int, outcome["right"])], float) for arm, outcome in done.items()}
    same, other = [], []
    for one, two in itertools.combinations(hits, 2):
        value = float(np.corrcoef(hits[one], hits[two])[0, 1])
        (same if one[0] == two[0] else other).append(value)

    def mean(values: list[float]) -> float | None:
        return round(float(np.mean(values)), 3) if values else None

    return {
        "correlation_of_seeds": mean(same),
        "correlation_of_networks": mean(other),
        "lowest_of_networks": round(min(other), 3) if other else None,
        "highest_of_networks": round(max(other), 3) if other else None,
    }


def main() -> None:
    """Run the missing trainings."""
    parser = arguments(__doc__, name="paired_error", seeds=[0, 1])
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    settings = {
        "space": "compact",
        "limit_flops": COMPACT_FLOPS,
        "recipe": "proxy",
        "fidelity": f"epochs={EPOCHS},share={SHARE}",
    }
    arms = each_seed([str(index) for index in range(NETWORKS)], args.seeds)

    def run(name: str, seed: int, folder: Path) -> dict[str, Any]:
        return right(name, seed, args.data)

    result = run_all(args, arms, run, settings, summary)
    print_out(
        *json.dumps({key: result[key] for key in result if "of_" in key}, indent=2).splitlines()
    )
