"""How many optimizer steps does a training need before its accuracy ranks the network?

What: 4 random networks of the compact space (at most 1M FLOPs at 32 px) are trained with the recipe
`proxy` for 50, 100 and 300 steps on three small data sets: 648 photographs of hands (10 classes),
1,000 images of CIFAR-10, and 4,000 of them rotated by 0 to 3 right angles, where the class is the
object together with the rotation (40 classes). As in a search, the moving average of the weights is
scored, here on 300 held-out images. A network counts as above chance if its accuracy exceeds chance
by 3 binomial standard errors. `third` is the mean after about a third of 300 steps.
Expected: chance accuracy for tens of steps. Measured: results/training_length.json. Time: 20
minutes on 2 CPU cores; rerun the command to resume. Command:

    python -m experiments.training_length --data ../shared/data
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.training_length")

import functools
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.lib.arms import Arm, arguments, run_all
from nas.evaluators.proxy import Fidelity, Proxy
from nas.history import History
from nas.objective import Objective
from nas.strategies.base import sample_fresh
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from train.execution import Execution
from train.recipe import change, preset
from vbs.console import print_out

if TYPE_CHECKING:
    from train.data import Data

NAME = "training_length"
NETWORKS, LIMIT = 4, 1_000_000
LENGTHS = (50, 100, 300)  # optimizer steps
SCORED, TURNED = 300, 4_000
FLIP = "flip=false"
# data set -> number of images, number of classes, file
SETS = {
    "648 hands": (648, 10, "sign_digits.zip"),
    "1,000 of CIFAR-10": (1000, 10, "cifar10"),
    "4,000 turned, 40 classes": (TURNED, 40, "cifar10"),
}


def the_space(classes: int) -> SearchSpace:
    """Return the space of small networks for 32 px."""
    return space("compact", resolution=32, classes=classes, small_images=True)


def genotypes() -> np.ndarray:
    """Return the networks, int8 [NETWORKS, decisions]."""
    history = History(the_space(10), Objective(LIMIT, "feasible"))
    return sample_fresh(history, NETWORKS, np.random.default_rng(0))


@functools.cache
def images_of(shared: Path, name: str) -> Data:
    """Return the data set of that name; the held-out images are its minival."""
    from train.data import load

    count, classes, file = SETS[name]
    data = load(f"parquet:{shared / file}" if file == "cifar10" else str(shared / file), minival=0)
    assert data.test is not None
    rng = np.random.default_rng(0)
    parts = []
    for split, size in ((data.train, count), (data.test, SCORED)):
        rows = np.sort(rng.permutation(len(split))[:size])
        parts.append(_turned(split, rows) if classes == 40 else split.select(rows))
    names = tuple(map(str, range(classes)))
    return replace(data, classes=names, train=parts[0], minival=parts[1], test=None)


def _turned(split: Any, rows: np.ndarray) -> Any:
    """Return images, each rotated by a number of right angles that is a part of its class."""
    import torch

    from train.data.in_memory import MemorySplit

    turns = np.arange(len(rows)) % 4
    images = split.pixels.images[split.rows[rows]]
    turned = torch.stack(
        [torch.rot90(image, int(turn), (1, 2)) for image, turn in zip(images, turns, strict=True)]
    )
    return MemorySplit(turned, split.targets[rows] * 4 + torch.from_numpy(turns))


def trained(shared: Path, name: str, network: int, steps: int) -> dict[str, Any]:
    """Train one network for some steps; return its curve, about six points."""
    import torch

    torch.set_num_threads(1)
    data, recipe = images_of(shared, name), change(preset("proxy"), [FLIP])
    per_epoch = len(data.train) // recipe.batch
    epochs = max(1, round(steps / per_epoch))
    fidelity, on_cpu = Fidelity(epochs, resolution=32), Execution(device="cpu")
    proxy = Proxy(data, recipe, fidelity, on_cpu, clock=time.process_time)
    curve = list(proxy.curve(the_space(len(data.classes)), genotypes()[network]))
    every = max(1, epochs // 6)
    points = [point for point in curve if point.step % every == 0 or point.step == epochs]
    return {
        "steps": epochs * per_epoch,
        "seconds": round(curve[-1].seconds, 1),
        "curve": [[point.step * per_epoch, round(point.accuracy, 2)] for point in points],
    }


def run(shared: Path, name: str, folder: Path) -> dict[str, Any]:
    """Train one network on one data set for all lengths."""
    of, _, network = name.rpartition(", network ")
    return {"lengths": {str(n): trained(shared, of, int(network), n) for n in LENGTHS}}


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return by data set and length: mean accuracy, spread, number of networks above chance."""
    found: dict[str, Any] = {}
    for name, (_, classes, _) in SETS.items():
        arms = [each["lengths"] for (arm, _), each in done.items() if arm.startswith(f"{name},")]
        if not arms:
            continue
        chance = 100 / classes
        bar = chance + 3 * math.sqrt(chance * (100 - chance) / SCORED)
        rows: dict[str, Any] = {}
        for length in map(str, LENGTHS):
            last = [arm[length]["curve"][-1][1] for arm in arms]
            rows[length] = {
                "mean": round(float(np.mean(last)), 2),
                "lowest": min(last),
                "highest": max(last),
                "above_chance": sum(value > bar for value in last),
                "networks": len(last),
            }
        third = [arm[str(LENGTHS[-1])]["curve"] for arm in arms]
        early = [min(curve, key=lambda point: abs(point[0] - 100))[1] for curve in third]
        rows["third"] = round(float(np.mean(early)), 2)
        found[name] = rows
    return {"chance_of_noise": "3 binomial standard errors", "sets": found}


def main() -> None:
    """Run the missing trainings."""
    parser = arguments(__doc__, name=NAME, seeds=[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with sign_digits.zip and cifar10"
    )
    args = parser.parse_args()
    arms = [(f"{name}, network {index}", 0) for index in range(NETWORKS) for name in SETS]
    settings = {
        "sets": {name: list(each) for name, each in SETS.items()},
        "lengths": list(LENGTHS),
        "limit_flops": LIMIT,
        "recipe": "proxy",
        "changes": [FLIP],
        "scored": SCORED,
    }
    run_all(args, arms, lambda name, seed, folder: run(args.data, name, folder), settings, summary)
    print_out(args.out)
