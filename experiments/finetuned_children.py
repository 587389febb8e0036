"""How should a smaller network inside pretrained weights be fine-tuned?

What: EfficientNet-Lite0 (ImageNet) is fine-tuned on sign_digits at 96 px: the parent. Two
sub-networks, with about a quarter and a tenth of its FLOPs, inherit its weights. Each is fine-tuned
for 6, 12 and 24 epochs on the labels, for 12 with distillation from the parent, and for 12 from a
parent that was trained together with its sub-networks (elastic). Shown: the test accuracy of each,
and the computation of its training relative to that of the parent's fine-tuning. A training step
counts as three forward passes; a teacher adds one forward pass of its own. The elastic epochs are
shared by all sub-networks and are not counted.
Time: an hour on 2 CPU cores, or 4 minutes on a GPU with --device cuda --processes 15; resumable.
Command:

    python -m experiments.finetuned_children --data ../shared/data/sign_digits.zip

Writes experiments/results/finetuned_children.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.finetuned_children")

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.lib.arms import Arm, arguments, each_seed, mean_and_sd, run_all
from experiments.lib.common import device_name
from experiments.lib.parents import (
    CASES,
    NORMALISATION,
    SIGNS,
    elastic_parent,
    fine_tuned_parent,
    parent_architecture,
)
from nas.evaluators.inherited import preparation_of
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.parent import parent_space
from train.data import load
from train.distributed import pick_device
from train.execution import Execution
from train.inherit.inheritance import inheritance, some_batches
from train.loop import train
from train.parents import load_parent
from train.recipe import Recipe, change, preset
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png

NAME = "finetuned_children"
EPOCHS = 6  # epochs of the parent and of the elastic training
# name -> epochs, teacher_weight, temperature, whether it starts from the elastic parent
SETTINGS: dict[str, tuple[int, float, float, bool]] = {
    "labels, 6 epochs": (6, 0.0, 1.0, False),
    "labels, 12 epochs": (12, 0.0, 1.0, False),
    "labels, 24 epochs": (24, 0.0, 1.0, False),
    "distillation, 12 epochs": (12, 0.5, 1.0, False),
    "distillation .9 at 2, 12 epochs": (12, 0.9, 2.0, False),
    "elastic, labels, 12 epochs": (12, 0.0, 1.0, True),
}
# name -> input side in pixels, number of layers removed from each stage, expansion
CHILDREN = {"quarter": (64, 2, 6), "tenth": (40, 2, 4)}


def child_of(parent: Architecture, name: str) -> Architecture:
    """Return the sub-network of that name."""
    side, fewer, expansion = CHILDREN[name]
    space = parent_space(parent)
    decisions: dict[str, Any] = {"resolution": side}
    for decision, options in space.choices.items():
        kind = decision.rpartition("_")[2]
        if kind == "l":
            decisions[decision] = max(1, max(options) - fewer)
        elif kind == "e":
            decisions[decision] = min(options, key=lambda each: abs(each - expansion))
    own = space.choices_of(space.encode(parent))
    return space.decode(space.encode(own | decisions))


def run(
    source: str, parents: Path, device: str, name: str, seed: int, folder: Path
) -> dict[str, Any]:
    """Fine-tune one sub-network with one setting."""
    setting, child_name = name.rsplit(": ", 1)
    epochs, weight, temperature, elastic = SETTINGS[setting]
    weights = parents / ("elastic" if elastic else "parent") / "best.safetensors"
    parent = load_parent(str(weights))
    child = child_of(parent.architecture, child_name)
    taught = [f"teacher={parents / 'parent' / 'best.safetensors'}"] if weight else []
    changes = [f"epochs={epochs}", f"teacher_weight={weight}"]
    recipe = change(recipe_of(), [*changes, f"temperature={temperature}", *taught])
    where = pick_device(device)
    data = load(source, minival=0.1)
    preparation = preparation_of(recipe, parent.architecture.resolution)
    batches = some_batches(data.train, preparation, device=where)
    inherited = inheritance(parent.network().to(where), batches, parent.importance)
    result = train(
        child,
        data,
        replace(recipe, seed=seed),
        execution=Execution(checkpoint=folder, device=device),
        initial=inherited.network(child),
    )
    assert result.test is not None, result.failed
    of_child, of_parent = cost(child).flops, cost(parent.architecture).flops
    work = (3 * of_child + (of_parent if weight else 0)) * epochs
    return {
        "name": name,
        "seed": seed,
        **cost(child)._asdict(),
        "resolution": child.resolution,
        "computation": round(work / (3 * of_parent * EPOCHS), 3),
        "test_top1": round(result.test.top1, 3),
        "seconds": round(result.seconds, 1),
        "device": device_name(device),
    }


def recipe_of() -> Recipe:
    """Return the recipe of the parent."""
    return change(preset("finetune"), [*CASES[SIGNS].changes, *NORMALISATION, f"epochs={EPOCHS}"])


def summary(done: Mapping[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return mean test accuracy and computation of each setting and sub-network."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for name, _ in done):
        rows = [row for (arm, _), row in done.items() if arm == name]
        found[name] = {
            **mean_and_sd([row["test_top1"] for row in rows]),
            "computation": rows[0]["computation"],
        }
    return {"test_top1": found}


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw test accuracy against computation, one panel for each sub-network."""
    figure = new_figure(13, 4)
    for place, child in enumerate(CHILDREN, 1):
        axes = figure.add_subplot(1, len(CHILDREN), place)
        for number, setting in enumerate(SETTINGS):
            row = result["test_top1"].get(f"{setting}: {child}")
            if row is not None:
                error = (row["sd"] or 0.0) / row["seeds"] ** 0.5
                axes.errorbar(
                    row["computation"],
                    row["mean"],
                    yerr=error,
                    fmt="osD^vPX*"[number],
                    capsize=2,
                    label=setting,
                )
        axes.set(
            title=f"a {child} of the parent's FLOPs",
            xlabel="computation relative to the parent's fine-tuning",
            ylabel="test accuracy (%)" if place == 1 else "",
        )
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    save_png(figure, path)


def main() -> None:
    """Train the parents, run the missing arms and draw the figure."""
    parser = arguments(__doc__, name=NAME, seeds=(0, 1))
    parser.add_argument("--data", required=True, help="sign_digits.zip")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    args = parser.parse_args()
    recipe = recipe_of()
    settings = {
        "parent": parent_architecture(10).key,
        "recipe": recipe.to_dict(),
        "settings": {name: list(each) for name, each in SETTINGS.items()},
        "children": {name: list(each) for name, each in CHILDREN.items()},
    }
    fine_tuned_parent(args.work / "parent", args.data, recipe, device=args.device)
    elastic_parent(args.work / "elastic", args.work / "parent", args.data, recipe, args.device)
    names = [f"{setting}: {child}" for setting in SETTINGS for child in CHILDREN]
    result = run_all(
        args,
        each_seed(names, args.seeds),
        functools.partial(run, args.data, args.work.resolve(), args.device),
        settings,
        summary,
    )
    for name, row in result["test_top1"].items():
        print_out(f"{name}: {row}")
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
