"""The recipe `finetune`, for pretrained weights and few images: its accuracy, and changes of it.

What: EfficientNet-Lite0 with Google's ImageNet weights is fine-tuned for 12 epochs on 1,642
photographs of hands (sign_digits) at 96 px, and on 2,000 images of CIFAR-10 at 64 px, in batches of
32 or 64, with some settings of the recipe changed at a time; the learning rates are those for a
batch of 64, and scale linearly. The weights that the minival selects are scored on the test images.
Nothing else differs between the arms of a data set.
Expected: a setting that is better on both data sets. Measured: results/finetune_recipe.json.
Time: 1 hour on 2 CPU cores for one seed; rerun the command to resume. Command:

    python -m experiments.finetune_recipe --data ../shared/data
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.finetune_recipe")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from experiments.lib.arms import Arm, arguments, by_data_set, each_seed, mean_and_sd, run_all
from experiments.lib.parents import (
    CASES,
    CIFAR10_IMAGES,
    NORMALISATION,
    SOURCE,
    parent_architecture,
    some_of_cifar10,
)
from search_spaces.network import build
from train.data import load
from train.execution import Execution
from train.initial import initialise
from train.loop import train
from train.recipe import Recipe, change, preset
from vbs.console import print_out

NAME = "finetune_recipe"
SETS = {"CIFAR-10": CASES["cifar10"], "hands": CASES["signs"]}
TRIED: dict[str, tuple[str, ...]] = {
    "lr 5e-4": ("lr=5e-4",),
    "lr 1.5e-3": ("lr=1.5e-3",),
    "lr 3e-3": ("lr=3e-3",),
    "lr 6e-3": ("lr=6e-3",),
    "lr 1.5e-3, pad crops": ("lr=1.5e-3", "crop=pad"),
    "lr 1.5e-3, batch 64": ("lr=1.5e-3", "batch=64"),
    "lr 3e-3, batch 64": ("lr=3e-3", "batch=64"),
}


def recipe_of(name: str, of: str, seed: int) -> Recipe:
    """Return the recipe of an arm on a data set."""
    changes = ["epochs=12", *NORMALISATION, *SETS[of].changes, *TRIED[name], f"seed={seed}"]
    return change(preset("finetune"), changes)


def run(shared: Path, work: Path, arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one arm; return its test accuracy and the curve on the minival."""
    name, of = arm.split(" on ")
    source = str(shared / "sign_digits.zip")
    if of == "CIFAR-10":
        source = some_of_cifar10(shared / "cifar10", work / "images", CIFAR10_IMAGES)
    data = load(source, minival=0.1)
    torch.manual_seed(seed)
    network = parent_architecture(len(data.classes), SETS[of])
    initial = build(network)
    initialise(initial, SOURCE)
    execution = Execution(checkpoint=folder, device="cpu")
    result = train(network, data, recipe_of(name, of, seed), execution=execution, initial=initial)
    assert result.test is not None, result.failed
    return {
        "test_top1": round(result.test.top1, 2),
        "seconds": round(result.seconds, 1),
        "minival_top1": [round(row["val_top1"], 2) for row in result.history],
    }


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the mean test accuracy of every arm, by data set."""
    found = {
        of: {name: mean_and_sd([row["test_top1"] for row in rows]) for name, rows in arms.items()}
        for of, arms in by_data_set(done, TRIED, SETS).items()
    }
    return {"test_top1": found}


def arms_of(seeds: Sequence[int]) -> list[Arm]:
    """Return all arms, those of one data set together."""
    return each_seed([f"{name} on {of}" for of in SETS for name in TRIED], seeds)


def main() -> None:
    """Run the missing trainings."""
    parser = arguments(__doc__, name=NAME, seeds=(0,))
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with sign_digits.zip and cifar10"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="ARM",
        help='some arms, e.g. "lr 3e-3 on CIFAR-10" (default: all)',
    )
    args = parser.parse_args()
    if (args.data / "cifar10").is_dir():  # written once, before the arms run side by side
        some_of_cifar10(args.data / "cifar10", args.work / "images", CIFAR10_IMAGES)
    settings = {of: {name: recipe_of(name, of, 0).to_dict() for name in TRIED} for of in SETS}
    arms = arms_of(args.seeds)
    run_all(
        args,
        arms,
        lambda *arm: run(args.data, args.work, *arm),
        settings,
        summary,
        only=[arm for arm in arms if not args.only or arm[0] in args.only],
    )
    print_out(args.out)
