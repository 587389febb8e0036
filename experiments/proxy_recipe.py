"""The recipe `proxy`: its accuracy on CIFAR-10 after minutes on a CPU, and changes of it.

What: the recipe is trained in full on all training images with three seeds and scored on the test
split, also for fewer epochs, in bfloat16, and with SGD instead of Muon. Then the recipe with SGD
is trained for 2 epochs (one seed), as it is and with one setting or combination changed, and scored
on the minival: optimizers and their settings, and methods that others found to make short trainings
faster (cifar10-airbench): Muon, a whitened stem, alternating flips, a higher learning rate of
batch-norm biases. For each arm the images/s and the shares of the time are recorded: images,
forward and backward pass, optimizer, and evaluation with everything else. The network is that of
`experiments.proxy_network`: found at 1.4M FLOPs, widened to 3.6M. Every arm has one processor; two
arms run at once.
Expected: 80% test accuracy in half the seconds that SGD needs for 10 epochs. Measured:
results/proxy_recipe.json.
Time: an hour on 2 CPU cores with AVX512-BF16. Without it and AMX, bfloat16 is emulated, and its
arms take several times as long. Command:

    python -m experiments.proxy_recipe --data parquet:../shared/data/cifar10

`--arms "the recipe" muon` runs only these; arms of earlier calls are kept.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.proxy_recipe")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.lib.arms import Arm, arguments, mean_and_sd, run_all
from experiments.lib.networks import proxy_network
from train.execution import Execution
from train.recipe import Recipe, change, preset
from vbs.console import print_out
from vbs.text import one_of

NAME = "proxy_recipe"
SHORT = ("epochs=2", "warmup_epochs=0.2")
RECIPE = "the recipe"

SGD = ("optimizer=sgd", "muon_lr=0.02")  # as before Muon; the changes start from it
MUON = ("optimizer=muon",)
MUON_005 = (*MUON, "muon_lr=0.05")
FROZEN = ("stem=frozen",)
WHITENED = ("stem=whitened",)
ALTERNATING = ("alternating_flip=true",)
BIASES = ("norm_bias_factor=8",)
ALL = (*MUON, *WHITENED, *ALTERNATING, *BIASES)
BFLOAT16 = ("precision=bfloat16",)
GROWING = ("stages=2", "min_resolution=20", "resolution=32")

# trained in full
FULL: dict[str, tuple[str, ...]] = {
    RECIPE: (),
    "sgd": SGD,
    "6 epochs": ("epochs=6",),
    "5 epochs": ("epochs=5",),
    "4 epochs": ("epochs=4",),
    "5 epochs, bfloat16": ("epochs=5", *BFLOAT16),
    "sgd, 5 epochs": (*SGD, "epochs=5"),
}

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
    "progressive 20-32 px": GROWING,
    "muon": MUON,
    "muon 0.05": (*MUON, "muon_lr=0.05"),
    "muon 0.1": (*MUON, "muon_lr=0.1"),
    "muon, momentum 0.95": (*MUON, "momentum=0.95"),
    "muon 0.03": (*MUON, "muon_lr=0.03"),
    "muon 0.07": (*MUON, "muon_lr=0.07"),
    "muon 0.05, frozen stem": (*MUON_005, *FROZEN),
    "muon 0.05, whitened stem": (*MUON_005, *WHITENED),
    "muon 0.05, lr 0.6": (*MUON_005, "lr=0.6"),
    "muon 0.05, momentum 0.8": (*MUON_005, "momentum=0.8"),
    "muon 0.05, momentum 0.95": (*MUON_005, "momentum=0.95"),
    "muon 0.05, batch 256": (*MUON_005, "batch=256"),
    "muon 0.05, label smoothing 0.1": (*MUON_005, "label_smoothing=0.1"),
    "muon 0.05, alternating flip": (*MUON_005, *ALTERNATING),
    "muon 0.05, norm biases x8": (*MUON_005, *BIASES),
    "muon 0.05, progressive 20-32 px": (*MUON_005, *GROWING),
    "muon 0.05, bfloat16": (*MUON_005, *BFLOAT16),
    "whitened stem": WHITENED,
    "frozen stem": FROZEN,
    "alternating flip": ALTERNATING,
    "norm biases x8": BIASES,
    "norm biases x64": ("norm_bias_factor=64",),
    "bfloat16": BFLOAT16,
    "bfloat16, compiled": (*BFLOAT16, "compile=true"),
    "compiled": ("compile=true",),
    "muon, whitened": (*MUON, *WHITENED),
    "muon, whitened, alternating": (*MUON, *WHITENED, *ALTERNATING),
    "all methods": ALL,
    "all methods, progressive 20-32 px": (*ALL, *GROWING),
}


def recipe_of(name: str, seed: int) -> Recipe:
    """Return the recipe of an arm: in full without a minival, or short with a change."""
    if name in FULL:
        return change(preset("proxy"), ["minival=0", *FULL[name], f"seed={seed}"])
    return change(preset("proxy"), [*SGD, *SHORT, *TRIED[name], f"seed={seed}"])


def run(source: str, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one arm; the seconds are those of training, without loading and evaluation."""
    from experiments.lib.step_times import timed_steps
    from train.data import load
    from train.loop import train

    recipe = recipe_of(name, seed)
    data = load(source, minival=recipe.minival, seed=seed, test=name in FULL)
    execution = Execution(checkpoint=folder, device="cpu")
    with timed_steps(data) as (timed, times):
        result = train(proxy_network(), timed, recipe, execution=execution)
        shares = times.shares()
    assert not result.failed, result.failed
    outcome = {
        "seconds": round(result.seconds, 1),
        "epochs": len(result.history),
        "images_per_second": round(result.steps * recipe.batch / result.seconds, 1),
        "shares": shares,
    }
    if result.test is not None:
        return outcome | {"test_top1": round(result.test.top1, 2)}
    return outcome | {"minival_top1": round(result.history[-1]["val_top1"], 2)}


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the tried changes, best first, the full trainings, and the results of the recipe."""
    tried = [_row(done, name, "minival_top1") | {"change": name} for name in _ended(done, TRIED)]
    tried.sort(key=lambda row: -row["minival_top1"]["mean"])
    full = {name: _row(done, name, "test_top1") for name in _ended(done, FULL)}
    return {"tried": tried, "full": full, "reached": full.get(RECIPE, {})}


def _ended(done: dict[Arm, dict[str, Any]], names: Sequence[str] | dict[str, Any]) -> list[str]:
    return [name for name in names if any(arm == name for arm, _ in done)]


def _row(done: dict[Arm, dict[str, Any]], name: str, score: str) -> dict[str, Any]:
    """Return the means over the seeds of an arm, and the shares of its time."""
    rows = [row for (arm, _), row in done.items() if arm == name]
    found: dict[str, Any] = {
        key: mean_and_sd([row[key] for row in rows])
        for key in (score, "seconds", "images_per_second")
    }
    found["shares"] = {
        part: round(sum(row["shares"][part] for row in rows) / len(rows), 3)
        for part in rows[0]["shares"]
    }
    return found


def main() -> None:
    """Run the full trainings, then the changes."""
    parser = arguments(__doc__, name=NAME, seeds=(0, 1, 2))
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--tried-seeds", type=int, default=1, help="seeds of each change (default 1)"
    )
    parser.add_argument("--arms", nargs="+", metavar="NAME", help="run only these arms")
    args = parser.parse_args()
    names = (*FULL, *TRIED)
    chosen = [one_of("--arms", name, names) for name in args.arms or names]
    settings = {name: recipe_of(name, 0).to_dict() for name in names}
    settings["network"] = proxy_network().key
    arms = [(name, seed) for seed in args.seeds for name in FULL]
    arms += [(name, seed) for seed in range(args.tried_seeds) for name in TRIED]
    only = [arm for arm in arms if arm[0] in chosen]
    run_all(args, arms, lambda *arm: run(args.data, *arm), settings, summary, only=only)
    print_out(args.out)
