"""The recipe `proxy`: its accuracy on CIFAR-10 after minutes on a CPU, and changes of it.

What: the recipe is trained in full on all training images with three seeds and scored on the test
split. Then one setting at a time is changed in a short training (2 epochs, one seed), which is
scored on the minival. The network is that of `experiments.proxy_network`: found at 1.4M FLOPs,
widened to 3.6M. Every arm has one processor; two arms run at once.
Expected: above 80% test accuracy in less than 10 minutes. Measured: results/proxy_recipe.json.
Time: 25 minutes on 2 CPU cores. Command:

    python -m experiments.proxy_recipe --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.proxy_recipe")

from pathlib import Path
from typing import Any

from experiments.lib.arms import Arm, arguments, mean_and_sd, run_all
from experiments.lib.networks import proxy_network
from train.execution import Execution
from train.recipe import Recipe, change, preset
from vbs.console import print_out

NAME = "proxy_recipe"
SHORT = ("epochs=2", "warmup_epochs=0.2")
FULL = "the recipe"

TRIED: dict[str, tuple[str, ...]] = {
    "unchanged": (),
    "lr 0.1": ("lr=0.1",),
    "lr 0.6": ("lr=0.6",),
    "batch 64": ("batch=64",),
    "label smoothing 0.1": ("label_smoothing=0.1",),
    "adamw 0.003": (
        "optimizer=adamw",
        "lr=0.003",
        "rms_decay=0.999",
        "eps=1e-8",
        "weight_decay=0.05",
    ),
    "rmsprop 0.01": ("optimizer=rmsprop", "lr=0.01", "weight_decay=1e-5"),
    "progressive 16-32 px": ("stages=2", "min_resolution=16", "resolution=32"),
}


def recipe_of(name: str, seed: int) -> Recipe:
    """Return the recipe of an arm: `proxy` in full without a minival, or short with one change."""
    if name == FULL:
        return change(preset("proxy"), ["minival=0", f"seed={seed}"])
    return change(preset("proxy"), [*SHORT, *TRIED[name], f"seed={seed}"])


def run(source: str, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one arm; the seconds are those of training, without loading and evaluation."""
    from train.data import load
    from train.loop import train

    recipe = recipe_of(name, seed)
    data = load(source, minival=recipe.minival, seed=seed, test=name == FULL)
    result = train(
        proxy_network(), data, recipe, execution=Execution(checkpoint=folder, device="cpu")
    )
    assert not result.failed, result.failed
    outcome = {"seconds": round(result.seconds, 1), "epochs": len(result.history)}
    if result.test is not None:
        return outcome | {"test_top1": round(result.test.top1, 2)}
    return outcome | {"minival_top1": round(result.history[-1]["val_top1"], 2)}


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the tried changes, best first, and the results of the recipe."""
    tried = []
    for name in TRIED:
        rows = [row for (arm, _), row in done.items() if arm == name]
        if rows:
            tried.append(
                {
                    "change": name,
                    "minival_top1": mean_and_sd([row["minival_top1"] for row in rows]),
                    "seconds": mean_and_sd([row["seconds"] for row in rows]),
                }
            )
    tried.sort(key=lambda row: -row["minival_top1"]["mean"])
    full = [row for (arm, _), row in done.items() if arm == FULL]
    reached = {
        key: mean_and_sd([row[key] for row in full]) for key in ("test_top1", "seconds") if full
    }
    return {"tried": tried, "reached": reached}


def main() -> None:
    """Run the recipe, then the changes."""
    parser = arguments(__doc__, name=NAME, seeds=(0, 1, 2))
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--tried-seeds", type=int, default=1, help="seeds of each change (default 1)"
    )
    args = parser.parse_args()
    settings = {name: recipe_of(name, 0).to_dict() for name in (FULL, *TRIED)}
    settings["network"] = proxy_network().key
    arms = [(FULL, seed) for seed in args.seeds]
    arms += [(name, seed) for seed in range(args.tried_seeds) for name in TRIED]
    run_all(args, arms, lambda *arm: run(args.data, *arm), settings, summary)
    print_out(args.out)
