"""Batch-norm statistics in short trainings: which momentum gives the right accuracy?

What: networks are trained for 20, 80 and 320 optimizer steps. The running statistics do not
influence the training, so statistics by every rule for the momentum are computed along with one
training. The accuracy with each rule after 5, 10, 20, ... steps is compared with that of the same
weights with statistics recalibrated on 25 batches of training images. A rule is max(published
momentum, a / (n + a)) at step n: a = 0 is the published momentum alone, a = 1 the mean of all steps
so far; "10 from .1" is a = 10 starting at n = 90, so that pretrained statistics keep their weight.
The moving average of the weights (decay .98) is scored with the moving average of the statistics
and with a copy of the statistics of the weights.
Expected: the published momentum .01 gives chance accuracy for hundreds of steps. Measured:
results/norm_statistics.json. Time: 20 minutes on 2 CPU cores. Command:

    python -m experiments.norm_statistics --data ../shared/data
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.norm_statistics")

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.lib.arms import Arm, arguments, each_seed, run_all
from experiments.lib.networks import proxy_network
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.network import Network, build
from search_spaces.scale import for_small_images
from train.data import Data, Split, Step, load
from train.data.augment import Preparation
from train.distributed import World
from train.evaluate import evaluate
from train.initial import initialise
from train.optimizer import MovingAverage, learning_rate, optimizer, set_learning_rate
from train.progressive import phase
from train.recipe import Recipe, change, preset
from train.state import preparation
from train.steps import augmentation
from vbs.console import print_err, print_out

NAME = "norm_statistics"
# steps of a training -> steps after which it is scored
LENGTHS = {20: (10, 20), 80: (40, 80), 320: (5, 10, 20, 40, 80, 160, 320)}
EPOCHS = 10
DECAY = 0.98
RECALIBRATED, BATCHES = "recalibrated", 25
FEW = (8,)  # batches of a cheap recalibration
SCORED = 300  # most images to score on
# rule -> (a, offset that is added to the step)
RULES = {
    "published": (0, 0),
    "a=1": (1, 0),
    "a=4": (4, 0),
    "a=10": (10, 0),
    "a=20": (20, 0),
    "a=40": (40, 0),
    "10 from .1": (10, 90),
}
AVERAGED = ("published", "a=10", "a=20")  # rules for the moving average


class Setup(NamedTuple):
    """Data, network and recipe of an arm."""

    data: str
    network: Callable[[], Architecture]
    changes: tuple[str, ...]
    initial: str = ""


_ADAM = ("optimizer=adamw", "rms_decay=0.999", "eps=1e-8", "weight_decay=0.01", "lr_batch=0")
_DIGITS, _CIFAR = "sign_digits.zip", "cifar10"
SETUPS = {
    "digits, Lite0": Setup(
        _DIGITS,
        lambda: replace(zoo("tf_efficientnet_lite0"), resolution=64),
        (*_ADAM, "lr=0.001", "batch=32", "flip=false"),
    ),
    "digits, Lite0 pretrained": Setup(
        _DIGITS,
        lambda: replace(zoo("tf_efficientnet_lite0"), resolution=64),
        (*_ADAM, "lr=0.0005", "batch=32", "flip=false"),
        "package:efficientnet_lite0",
    ),
    "digits, proxy network": Setup(_DIGITS, proxy_network, ("batch=32", "flip=false")),
    "CIFAR-10, Lite0": Setup(
        _CIFAR,
        lambda: replace(for_small_images(zoo("tf_efficientnet_lite0")), resolution=32),
        (*_ADAM, "lr=0.001", "batch=64"),
    ),
    "CIFAR-10, proxy network": Setup(_CIFAR, proxy_network, ("batch=128",)),
}


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def statistics(network: nn.Module) -> list[Tensor]:
    """Return means and variances of all norms; the tensors themselves, not copies."""
    return [
        each
        for norm in norms(network)
        for each in (norm.running_mean, norm.running_var)
        if each is not None
    ]


class Followed:
    """The statistics by every rule during one training, and their moving averages."""

    def __init__(self, network: Network) -> None:
        first = [each.clone() for each in statistics(network)]
        self.published = norms(network)[0].momentum
        self.own = {rule: copy.deepcopy(first) for rule in RULES}
        self.mean = {rule: copy.deepcopy(first) for rule in AVERAGED}
        for norm in norms(network):
            norm.momentum = 1.0  # the statistics after a step are those of its batch

    def update(self, network: Network, n: int) -> None:
        """Add the statistics of step n (from 0)."""
        step = statistics(network)
        for rule, (a, before) in RULES.items():
            momentum = max(self.published or 0.0, a / (n + before + a) if a else 0.0)
            torch._foreach_lerp_(self.own[rule], step, momentum)
        for rule in AVERAGED:
            torch._foreach_lerp_(
                self.mean[rule], self.own[rule], 1 - min(DECAY, (1 + n) / (10 + n))
            )


class Reader:
    """Computes the accuracy of weights with given statistics, on the CPU."""

    def __init__(self, network: Network, recipe: Recipe, train: Split, scored: Split) -> None:
        self._network = copy.deepcopy(network)
        self._train, self._scored, self._recipe = train, scored, recipe
        self._preparation: Preparation = preparation(recipe)

    def top1(self, weights: nn.Module, values: list[Tensor]) -> float:
        """Return the accuracy in percent."""
        self._take(weights)
        torch._foreach_copy_(statistics(self._network), values)
        here = World(0, 1, torch.device("cpu"))
        return round(evaluate(self._network, self._scored, self._preparation, world=here).top1, 2)

    def recalibrated(self, weights: nn.Module, count: int = BATCHES) -> list[Tensor]:
        """Return the mean statistics of `count` training batches with these weights."""
        self._take(weights)
        network = self._network.train()
        for norm in norms(network):
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
        with torch.no_grad():
            for images, _ in batches(self._train, self._recipe, count, seed=99):
                network(images)
        return [each.clone() for each in statistics(network)]

    def _take(self, weights: nn.Module) -> None:
        own, theirs = list(self._network.parameters()), list(weights.parameters())
        torch._foreach_copy_([each.data for each in own], [each.data for each in theirs])


def batches(split: Split, recipe: Recipe, count: int, *, seed: int) -> Iterator[Any]:
    """Yield `count` augmented training batches, epoch after epoch."""
    rng = np.random.default_rng(seed)
    order: list[np.ndarray] = []
    while len(order) < count:
        order.extend(split.order(rng, recipe.batch))
    steps = [
        Step(indices, slice(0, recipe.batch), seed * 2**20 + at)
        for at, indices in enumerate(order[:count])
    ]
    return split.batches(steps, augmentation(recipe, phase(recipe, 0)))


def trained(setup: Setup, data: Data, steps: int, seed: int) -> list[dict[str, Any]]:
    """Train once for some steps; return the accuracies by every rule at each step of interest."""
    architecture = replace(setup.network(), classes=len(data.classes))
    side = f"resolution={architecture.resolution}"
    recipe = change(
        preset("proxy"),
        [
            f"epochs={EPOCHS}",
            *setup.changes,
            side,
            f"eval_{side}",
            f"seed={seed}",
        ],
    )
    torch.manual_seed(seed)
    network = build(architecture)
    if setup.initial:
        known = initialise(network, setup.initial)
        assert known.mean is not None
        assert known.std is not None
        recipe = replace(recipe, mean=known.mean, std=known.std)
    network = network.to(memory_format=torch.channels_last)
    scored = data.test
    assert scored is not None
    reader = Reader(network, recipe, data.train, scored.select(np.arange(len(scored))[:SCORED]))
    followed, average = Followed(network), MovingAverage(network, DECAY)
    made, rows = optimizer(recipe, network.train()), []
    for n, (images, targets) in enumerate(batches(data.train, recipe, steps, seed=seed)):
        set_learning_rate(made, learning_rate(recipe, n, max(1, steps // EPOCHS)))
        F.cross_entropy(network(images), targets).backward()
        made.step()
        made.zero_grad()
        followed.update(network, n)
        average.update(network, n)
        if n + 1 in LENGTHS[steps]:
            rows.append({"of": steps, "step": n + 1, **_read(reader, network, average, followed)})
            print_err(rows[-1])
    return rows


def _read(
    reader: Reader, network: Network, average: MovingAverage, followed: Followed
) -> dict[str, dict[str, float]]:
    weights = {rule: reader.top1(network, values) for rule, values in followed.own.items()}
    mean = average.network
    found = {f"{rule}, averaged": reader.top1(mean, followed.mean[rule]) for rule in AVERAGED}
    found |= {f"{rule}, copied": reader.top1(mean, followed.own[rule]) for rule in AVERAGED}
    for of, read in ((network, weights), (mean, found)):
        for count in FEW:
            read[f"{count} batches"] = reader.top1(of, reader.recalibrated(of, count))
        read[RECALIBRATED] = reader.top1(of, reader.recalibrated(of))
    return {"weights": weights, "average": found}


def run(shared: Path, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run all lengths of one setup."""
    setup = SETUPS[name]
    source = f"parquet:{shared / setup.data}" if setup.data == _CIFAR else str(shared / setup.data)
    data = load(source, minival=0.0, seed=seed)
    return {"rows": [row for steps in LENGTHS for row in trained(setup, data, steps, seed)]}


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return by setup and step the mean points that each rule is below recalibrated statistics."""
    found: dict[str, Any] = {}
    for name in SETUPS:
        rows = [row for (arm, _), one in done.items() if arm == name for row in one["rows"]]
        by_step: dict[str, Any] = {}
        for of, step in ((of, step) for of, points in LENGTHS.items() for step in points):
            here = [row for row in rows if (row["of"], row["step"]) == (of, step)]
            if here:
                by_step[f"{step} of {of}"] = {
                    kind: _below(here, kind) for kind in ("weights", "average")
                }
        if by_step:
            found[name] = by_step
    return {"below_recalibrated": found}


def _below(rows: list[dict[str, Any]], kind: str) -> dict[str, float]:
    gold = np.mean([row[kind][RECALIBRATED] for row in rows])
    below = {
        rule: round(float(np.mean([row[kind][RECALIBRATED] - row[kind][rule] for row in rows])), 2)
        for rule in rows[0][kind]
        if rule != RECALIBRATED
    }
    return {RECALIBRATED: round(float(gold), 2), **below}


def main() -> None:
    """Run the missing arms."""
    parser = arguments(__doc__, name=NAME, seeds=(0, 1))
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with sign_digits.zip and cifar10"
    )
    args = parser.parse_args()
    settings = {
        "setups": {name: list(setup.changes) for name, setup in SETUPS.items()},
        "lengths": LENGTHS,
        "rules": RULES,
        "decay": DECAY,
        "few": list(FEW),
        "batches": BATCHES,
    }
    run_all(
        args,
        each_seed(list(SETUPS), args.seeds),
        lambda *arm: run(args.data, *arm),
        settings,
        summary,
    )
    print_out(args.out)
