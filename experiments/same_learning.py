"""Does a network reach the same accuracy in this training loop as in timm's?

Trains one network on CIFAR-10 with one recipe, with `train.loop.train` ("ours") and with timm: the
equal network made by timm's builder, create_optimizer_v2, the step of timm's train.py,
torchvision's transforms one image at a time in a DataLoader, timm's accuracy. SGD with Nesterov
momentum, learning rate 0.2 decreasing linearly to 0 after half an epoch of warm-up, batch 128,
weight decay 5e-4 (not on biases and norms), crop of the reflected and padded image, flip; no label
smoothing, no moving average, float32.

Only the loops are compared. Both sides take the learning rate of a step from the same function, and
timm's network starts with weights of our `build` with other seeds, because our classifier is
deliberately initialised differently (search_spaces/network.py). Order, crops and flips differ
between the sides. --images sets the number of training images (stratified, the same ones on both
sides).

Expected: the mean test accuracies of three seeds lie within one (pooled) standard deviation.
Time: about 10 minutes on 2 cores for 25,000 images, 3 epochs, 3 seeds (0: all images, twice that).
Finished runs are kept in --work; rerun the command to resume. Until all runs have ended, the result
file has "complete": false.

    python -m experiments.same_learning [--processes 2] [--seeds 0 1 2] [--images 25000]
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.same_learning", "compare")

import dataclasses
import functools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.lib.arguments import Options, experiment_arguments
from experiments.lib.arms import gpu_share, side_by_side
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.timm_data import per_image, timm_accuracy, training_loader
from experiments.lib.timm_loop import timm_loop
from experiments.lib.timm_networks import check_twins, proxy_network, timm_twin
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.network import build
from train.data import Data, load
from train.data.listing import stratified
from train.distributed import pick_device
from train.execution import Execution
from train.loop import train
from train.optimizer import learning_rate, set_learning_rate
from train.recipe import NORM_STATISTICS, Recipe
from train.state import resolved
from vbs.console import print_err, print_out
from vbs.folder import write_json
from vbs.lock import owned

SIDES = ("ours", "timm")
CLASSES = 10  # of the network in records; trained networks have those of the data
OTHER_SEEDS = 1000  # added to a seed for timm's initial weights


def recipe_of(arguments: Options, seed: int) -> Recipe:
    """Return the recipe of both sides; its seed is that of our side."""
    return Recipe(
        name="same-learning",
        epochs=arguments.epochs,
        batch=arguments.batch,
        optimizer="sgd",
        lr=0.2,
        lr_batch=0,
        weight_decay=5e-4,
        schedule="linear",
        warmup_epochs=0.5,
        label_smoothing=0.0,
        dropout=0.0,
        drop_path=0.0,
        crop="pad",
        eval_crop=1.0,
        precision="float32",
        minival=0.0,
        seed=seed,
    )


def data_of(arguments: Options) -> Data:
    """Return the data set with its first training images; needs a test split (else ValueError)."""
    data = _loaded(arguments.data)
    if data.test is None:
        raise ValueError(f"data: {arguments.data} has no test split")
    count = arguments.images or len(data.train)
    if not arguments.batch <= count <= len(data.train):
        raise ValueError(
            f"images: {count} is not allowed; use {arguments.batch} (a batch) to {len(data.train)}"
        )
    if count == len(data.train):
        return data
    _, chosen = stratified(data.train.targets.numpy(), count / len(data.train), 0)
    return dataclasses.replace(data, train=data.train.select(chosen))


@functools.lru_cache(maxsize=1)  # shared by the runs of a process
def _loaded(text: str) -> Data:
    return load(text, minival=0.0)


def network_of(arguments: Options, data: Data) -> Architecture:
    """Return the network for the classes and the side of the data's images."""
    architecture = proxy_network(arguments.network, len(data.classes))
    return dataclasses.replace(architecture, resolution=data.train.picture(0).shape[0])


def train_ours(
    architecture: Architecture, data: Data, recipe: Recipe, device: torch.device
) -> dict[str, Any]:
    """Return test accuracy, last loss and seconds of our loop."""
    result = train(architecture, data, recipe, execution=Execution(device=str(device)))
    if result.failed or result.test is None:
        raise ValueError(f"ours, seed {recipe.seed}: {result.failed or 'no test score'}")
    return {
        "top1": result.test.top1,
        "train_loss": result.history[-1]["train_loss"],
        "steps": result.steps,
        "train_seconds": round(result.seconds, 1),
    }


def train_timm(
    architecture: Architecture, data: Data, recipe: Recipe, device: torch.device
) -> dict[str, Any]:
    """Return test accuracy, last loss and seconds of timm's loop."""
    assert data.test is not None
    torch.manual_seed(recipe.seed + OTHER_SEEDS)
    network = timm_twin(architecture)
    network.load_state_dict(build(architecture).state_dict())
    side = architecture.resolution
    loader = training_loader(
        per_image(data.train, recipe, side, training=True), recipe.batch, seed=recipe.seed
    )
    loop = timm_loop(network, recipe, device)
    start, mean_loss = time.perf_counter(), math.nan
    for _ in range(recipe.epochs):
        losses = []
        for images, targets in loader:
            set_learning_rate(loop.optimizer, learning_rate(recipe, loop.updates, len(loader)))
            losses.append(loop.step(images.to(device), targets.to(device)))
        mean_loss = float(torch.stack(losses).mean())
    seconds = time.perf_counter() - start
    if not math.isfinite(mean_loss):
        raise ValueError(f"timm, seed {recipe.seed}: the loss is not a number")
    top1 = timm_accuracy(network, per_image(data.test, recipe, side, training=False), device)
    return {
        "top1": top1,
        "train_loss": mean_loss,
        "steps": loop.updates,
        "train_seconds": round(seconds, 1),
    }


def one_run(arguments: Options, side: str, seed: int) -> None:
    """Train a side with a seed and write the outcome to the work folder, which other runs share.

    Raises ValueError if another process trains the same side and seed there.
    """
    lock = f"{side}-{seed}.owner.json"
    with owned(Path(arguments.work), "experiments.same_learning", name=lock):
        data = data_of(arguments)
        architecture = network_of(arguments, data)
        recipe = resolved(recipe_of(arguments, seed), architecture)
        run = train_ours if side == "ours" else train_timm
        outcome = run(architecture, data, recipe, pick_device(arguments.device))
        write_json(_kept(arguments, side, seed), {"settings": identity(arguments), **outcome})
    print_err(f"{side}, seed {seed}: {outcome['top1']:.2f}%")


def identity(arguments: Options) -> dict[str, Any]:
    """Return the settings that outcomes must share to be compared."""
    recipe = recipe_of(arguments, 0).to_dict()
    del recipe["seed"]
    return {
        "data": Path(arguments.data).name,
        "images": arguments.images,
        "device": arguments.device,
        "network": json.loads(proxy_network(arguments.network, CLASSES).to_json()),
        "recipe": recipe,
        "torch": torch.__version__,
        "norm_statistics": NORM_STATISTICS,
    }


def outcomes(arguments: Options) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the outcomes by side and seed; raises ValueError if they have other settings."""
    found: dict[str, dict[int, dict[str, Any]]] = {side: {} for side in SIDES}
    for side, seed in _wanted(arguments):
        path = _kept(arguments, side, seed)
        if not path.exists():
            continue
        outcome = json.loads(path.read_text())
        if outcome.pop("settings", None) != identity(arguments):
            raise ValueError(f"work: {path} has other settings; use another --work")
        found[side][seed] = outcome
    return found


def _kept(arguments: Options, side: str, seed: int) -> Path:
    return Path(arguments.work) / f"{side}-{seed}.json"


def _wanted(arguments: Options) -> list[tuple[str, int]]:
    return [(side, seed) for seed in arguments.seeds for side in SIDES]


def summary(found: dict[str, dict[int, dict[str, Any]]], seeds: list[int]) -> dict[str, Any]:
    """Return means, standard deviations and the difference of the means (None without both)."""
    missing = [f"{side}-{seed}" for seed in seeds for side in SIDES if seed not in found[side]]
    table: dict[str, Any] = {"complete": not missing, "missing": missing}
    means, variances = [], []
    for side in SIDES:
        scores = [outcome["top1"] for outcome in found[side].values()]
        deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        mean = float(np.mean(scores)) if scores else None
        table[side] = {
            "top1_mean": mean,
            "top1_sd": deviation,
            "by_seed": {str(seed): outcome for seed, outcome in found[side].items()},
        }
        if mean is not None and deviation is not None:
            means.append(mean)
            variances.append(deviation**2)
    table |= {"difference": None, "pooled_sd": None, "difference_in_sd": None, "within": None}
    if len(means) == 2:
        apart, pooled = means[0] - means[1], math.sqrt(sum(variances) / 2)
        in_sd = apart / pooled if pooled else None
        table |= {"difference": apart, "pooled_sd": pooled, "difference_in_sd": in_sd}
        table["within"] = abs(apart) <= pooled
    return table


def _arguments(texts: list[str] | None) -> Options:
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", default="parquet:../shared/data/cifar10")
    parser.add_argument("--network", help="JSON file of a network (default: the proxy network)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=25_000, help="training images; 0: all")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--processes", type=int, default=1, help="runs at once, one thread each")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of torch; 0: torch's default"
    )
    parser.add_argument("--work", default="runs/same-learning", help="folder of finished runs")
    parser.add_argument(
        "--out", help="result file (default experiments/results/same_learning.json)"
    )
    arguments = parser.parse_args(texts)
    if min(arguments.processes, arguments.epochs, arguments.batch) < 1 or arguments.images < 0:
        raise ValueError("processes, epochs and batch: use 1 or more; images: 0 or more")
    if min(arguments.seeds) < 0:
        raise ValueError(f"seeds: {min(arguments.seeds)} is not allowed; use 0 or more")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return arguments


def _write(arguments: Options, checked: dict[str, Any]) -> dict[str, Any]:
    settings = identity(arguments)
    architecture = proxy_network(arguments.network, CLASSES)
    settings |= {"epochs": arguments.epochs, "seeds": arguments.seeds}
    settings |= {"processes": arguments.processes, "flops": cost(architecture).flops, **checked}
    threads = 1 if arguments.processes > 1 else torch.get_num_threads()
    result = {
        "settings": settings,
        **settings_of_machine(),
        "threads": threads,
        **summary(outcomes(arguments), arguments.seeds),
    }
    name = "same_learning_cuda.json" if arguments.device == "cuda" else "same_learning.json"
    write_json(Path(arguments.out) if arguments.out else RESULTS / name, result)
    return result


def _one_of(arguments: Options, task: tuple[str, int]) -> None:
    """Train one run, in a process of its own."""
    one_run(arguments, *task)


def compare(texts: list[str] | None = None) -> None:
    """Run the missing trainings, write the result file after each, print it."""
    arguments = _arguments(texts)
    Path(arguments.work).mkdir(parents=True, exist_ok=True)
    done = outcomes(arguments)
    waiting = [(side, seed) for side, seed in _wanted(arguments) if seed not in done[side]]
    checked = check_twins(proxy_network(arguments.network, CLASSES))
    if arguments.processes == 1:
        for side, seed in waiting:
            one_run(arguments, side, seed)
            _write(arguments, checked)
    else:
        run = functools.partial(_one_of, arguments)
        gpus = gpu_share(arguments.device, arguments.processes)
        for _ in side_by_side(run, waiting, arguments.processes, gpus=gpus):
            _write(arguments, checked)
    print_out(*json.dumps(_write(arguments, checked), indent=1).splitlines())
