"""Does progressive learning save time on small machines? Accuracy against seconds, three seeds.

What: the same network, data, epochs and final settings, once with a fixed image size and once with
image size, RandAugment magnitude, mixup and dropout increasing in four stages (EfficientNetV2,
section 4.2), on photographs (sign_digits, 96 px) and on CIFAR-10 (32 px). Both arms of a seed run
side by side. Expected: about equal accuracy in about 60% of the seconds. Measured: results/.
Time: 15 minutes on 2 CPU cores. Command:

    python -m experiments.progressive_learning --data ../shared/data
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.progressive_learning")

from pathlib import Path
from typing import Any

from experiments.lib.arms import Arm, arguments, each_seed, mean_and_sd, run_all
from experiments.lib.networks import proxy_network
from train.execution import Execution
from train.recipe import Recipe, change, preset
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png

NAME = "progressive_learning"

# settings of both arms of a data set; "fixed" trains with these values throughout
TASKS: dict[str, dict[str, Any]] = {
    "sign_digits": {
        "source": "sign_digits.zip",
        "resolution": 96,
        "recipe": (
            "epochs=10",
            "batch=32",
            "crop=resized",
            "crop_area=0.5",
            "flip=false",
            "policy=randaugment",
            "magnitude=6",
            "mixup=0.1",
            "dropout=0.2",
            "resolution=96",
        ),
        "rising": (
            "stages=4",
            "min_resolution=48",
            "min_magnitude=2",
            "min_mixup=0",
            "min_dropout=0.05",
        ),
    },
    "cifar10": {
        "source": "parquet:cifar10",
        "resolution": 32,
        "recipe": (
            "epochs=4",
            "policy=randaugment",
            "magnitude=3",
            "group=8",
            "mixup=0.1",
            "dropout=0.1",
            "resolution=32",
        ),
        "rising": (
            "stages=4",
            "min_resolution=16",
            "min_magnitude=1",
            "min_mixup=0",
            "min_dropout=0",
        ),
    },
}


def recipe_of(name: str, seed: int) -> Recipe:
    """Return the recipe of an arm `<data set> <fixed|progressive>`."""
    task, kind = name.split()
    changes = [*TASKS[task]["recipe"], f"seed={seed}"]
    if kind == "progressive":
        changes += TASKS[task]["rising"]
    return change(preset("proxy"), changes)


def run(data_folder: Path, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one arm; return its curve and its test accuracy."""
    from dataclasses import replace

    from train.data import load
    from train.loop import train

    task = TASKS[name.split()[0]]
    kind, colon, file = task["source"].rpartition(":")
    data = load(f"{kind}{colon}{data_folder / file}", minival=0.1, seed=seed)
    network = replace(proxy_network(), resolution=task["resolution"], classes=len(data.classes))
    result = train(
        network, data, recipe_of(name, seed), execution=Execution(checkpoint=folder, device="cpu")
    )
    assert result.test is not None, result.failed
    columns = ("epoch", "seconds", "resolution", "magnitude", "train_loss", "val_top1")
    return {
        "test_top1": result.test.top1,
        "seconds": round(result.seconds, 1),
        "curve": [{name: row[name] for name in columns} for row in result.history],
    }


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return means over seeds, and the change by progressive learning on each data set."""
    found: dict[str, Any] = {}
    for task in TASKS:
        arms: dict[str, Any] = {}
        for kind in ("fixed", "progressive"):
            rows = [row for (name, _), row in done.items() if name == f"{task} {kind}"]
            if rows:
                arms[kind] = {
                    key: mean_and_sd([row[key] for row in rows]) for key in ("test_top1", "seconds")
                }
        if len(arms) == 2:
            fixed, rising = arms["fixed"], arms["progressive"]
            arms["seconds_ratio"] = round(rising["seconds"]["mean"] / fixed["seconds"]["mean"], 3)
            gain = rising["test_top1"]["mean"] - fixed["test_top1"]["mean"]
            arms["top1_difference"] = round(gain, 2)
        found[task] = arms
    return {"summary": found}


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw minival accuracy against training seconds, one thin line for each seed."""
    figure = new_figure(11, 4.5, dpi=120)
    colours = {"fixed": "tab:gray", "progressive": "tab:orange"}
    for panel, task in zip(figure.subplots(1, len(TASKS)), TASKS, strict=True):
        for arm in result["arms"]:
            data, kind = arm["arm"].split()
            if data != task:
                continue
            seconds = [row["seconds"] for row in arm["curve"]]
            accuracies = [row["val_top1"] for row in arm["curve"]]
            panel.plot(seconds, accuracies, color=colours[kind], alpha=0.7)
            panel.plot(seconds[-1:], accuracies[-1:], "o", color=colours[kind])
        for kind, colour in colours.items():
            panel.plot([], [], "o-", color=colour, label=kind)
        panel.set(title=task, xlabel="seconds of training", ylabel="minival top-1 (%)")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right", frameon=False)
    partial = " (partial)" if result["partial"] else ""
    figure.suptitle(f"Progressive and fixed training, a line a seed{partial}")
    save_png(figure, path)


def main() -> None:
    """Run the missing arms and draw the figure."""
    parser = arguments(__doc__, name=NAME, seeds=(0, 1, 2))
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with sign_digits.zip and cifar10"
    )
    args = parser.parse_args()
    names = [f"{task} {kind}" for task in TASKS for kind in ("fixed", "progressive")]
    settings = {name: recipe_of(name, 0).to_dict() for name in names}
    settings["network"] = proxy_network().key
    result = run_all(
        args, each_seed(names, args.seeds), lambda *arm: run(args.data, *arm), settings, summary
    )
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
    print_out(args.out)
