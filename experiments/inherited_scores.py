"""Which score of an inherited network predicts its accuracy after fine-tuning?

What: EfficientNet-Lite0 (ImageNet) is fine-tuned on sign_digits at 96 px, or on 2,000 images of
CIFAR-10 at 64 px: the parent. 24 sub-networks, spread evenly over the logarithm of their FLOPs from
8 to 60% of the parent's, inherit its weights. Each is scored with every score of
`nas.evaluators.inherited_scores` for several choices of what it inherits: channels by the L1 norm
of weights, by batch-norm scales or by a Taylor expansion; layers by the loss without them, or the
last ones dropped first. The score by steps of fine-tuning is tried with several learning rates.
Then each network is fine-tuned for six epochs. Shown: rank correlation (Kendall tau, Spearman rho)
of each score on the minival with the test accuracy after fine-tuning, the seconds of the score, and
the correlation of FLOPs and params.
Time: 70 minutes on 2 CPU cores; resumable. Command:

    python -m experiments.inherited_scores --data ../shared/data/sign_digits.zip
    python -m experiments.inherited_scores --case cifar10 --data ../shared/data/cifar10

Writes experiments/results/inherited_scores.{json,png}, or inherited_scores_cifar10.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.inherited_scores")

import functools
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.lib.arms import Arm, arguments, run_all
from experiments.lib.common import device_name
from experiments.lib.parents import (
    NORMALISATION,
    Case,
    add_case,
    chosen_case,
    fine_tuned_parent,
    parent_architecture,
    spread_children,
)
from nas.evaluators.inherited import preparation_of, views_of
from nas.evaluators.inherited_scores import RATE, SCORES, Score, Views
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.network import Network
from train.data import load
from train.distributed import pick_device
from train.execution import Execution
from train.inherit.importance import (
    Importance,
    by_norm_scale,
    by_taylor,
    by_weights,
    layers_by_loss,
    layers_from_the_end,
)
from train.inherit.inheritance import Inheritance, some_batches
from train.loop import train
from train.recipe import Recipe, change, preset
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png

NAME = "inherited_scores"
COUNT, EPOCHS = 24, 6
# name -> importance of channels, importance of layers
CHOICES = {
    "taylor": ("taylor", "loss"),
    "taylor, layers from the end": ("taylor", "end"),
    "norm scale": ("norm", "loss"),
    "weights": ("weights", "loss"),
}
FIRST = next(iter(CHOICES))
RATES = (1 / 6, 1 / 3, 1.0, 2.0)  # other learning rates of the steps, in multiples of the recipe's


def _by_steps(rate: float, network: Network, views: Views, recipe: Recipe) -> float:
    return SCORES["steps"](network, views, replace(recipe, lr=recipe.lr * rate / RATE))


def scores_of(choice: str) -> dict[str, Score]:
    """Return the scores that are compared; those of other learning rates for the first choice."""
    others = {f"steps at {rate:.2g} times the rate": rate for rate in RATES}
    own = {name: functools.partial(_by_steps, rate) for name, rate in others.items()}
    return {**SCORES, **(own if choice == FIRST else {})}


def recipe_of(case: Case) -> Recipe:
    """Return the recipe of the parent and of its sub-networks."""
    return change(preset("finetune"), [*case.changes, *NORMALISATION, f"epochs={EPOCHS}"])


def run(
    source: str, parent: Path, case: Case, device: str, name: str, number: int, folder: Path
) -> dict[str, Any]:
    """Score and fine-tune the candidate of that number."""
    data = load(source, minival=0.1)
    teacher, tensors = fine_tuned_parent(parent)
    child = spread_children(teacher.architecture, COUNT)[number]
    recipe = recipe_of(case)
    where = pick_device(device)
    teacher = teacher.to(where)
    views = views_of(data, recipe, child.resolution, device=where)
    preparation = preparation_of(recipe, teacher.architecture.resolution)
    batches = some_batches(data.train, preparation, device=where)
    channels = {
        "taylor": by_taylor(teacher, batches),
        "norm": by_norm_scale(teacher),
        "weights": by_weights(teacher),
    }
    layers = {"loss": layers_by_loss(teacher, batches), "end": layers_from_the_end(teacher)}
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for choice, (channel, layer) in CHOICES.items():
        importance = Importance(channels[channel], layers[layer])
        inheritance = Inheritance(tensors, teacher.architecture, importance)
        scores[choice] = {}
        for score, function in scores_of(choice).items():
            network = inheritance.network(child).to(where)
            torch.manual_seed(1)
            started = time.perf_counter()
            value = function(network, views, recipe)
            scores[choice][score] = {
                "minival": round(value, 3),
                "seconds": round(time.perf_counter() - started, 3),
            }
    importance = Importance(channels["taylor"], layers["loss"])
    initial = Inheritance(tensors, teacher.architecture, importance).network(child)
    result = train(
        child,
        data,
        replace(recipe, seed=number),
        execution=Execution(checkpoint=folder, device=device),
        initial=initial,
    )
    assert result.test is not None, result.failed
    return {
        "name": name,
        "number": number,
        **_described(child),
        "scores": scores,
        "test_top1": round(result.test.top1, 3),
        "seconds": round(result.seconds, 1),
        "device": device_name(device),
    }


def _described(child: Architecture) -> dict[str, Any]:
    return {
        **cost(child)._asdict(),
        "resolution": child.resolution,
        "layers": sum(stage.layers for stage in child.stages),
    }


def summary(done: Mapping[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the rank correlations with the accuracy after fine-tuning."""
    from scipy.stats import kendalltau, spearmanr

    rows = list(done.values())
    if len(rows) < 3:
        return {"correlations": {}}
    reached = [row["test_top1"] for row in rows]
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, values: list[float], seconds: list[float]) -> None:
        found[name] = {
            "kendall_tau": round(float(kendalltau(values, reached)[0]), 3),
            "spearman_rho": round(float(spearmanr(values, reached)[0]), 3),
            "seconds": round(float(np.median(seconds)), 2),
        }

    for name in ("flops", "params"):
        add(name, [row[name] for row in rows], [0.0])
    for choice in CHOICES:
        for score in scores_of(choice):
            each = [row["scores"][choice][score] for row in rows]
            add(
                f"{score}, {choice}",
                [one["minival"] for one in each],
                [one["seconds"] for one in each],
            )
    return {"correlations": found}


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw the accuracy after fine-tuning against FLOPs and against each score."""
    figure = new_figure(13, 3.6)
    names = ["flops", *SCORES]
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(1, len(names), place)
        values = [
            row["flops"] / 1e6 if name == "flops" else row["scores"]["taylor"][name]["minival"]
            for row in result["arms"]
        ]
        axes.plot(values, [row["test_top1"] for row in result["arms"]], "o", ms=4)
        key = name if name == "flops" else f"{name}, taylor"
        known = result["correlations"].get(key, {})
        axes.set(
            xlabel="FLOPs, in millions" if name == "flops" else f"score by {name} (minival %)",
            ylabel="test accuracy after fine-tuning (%)" if place == 1 else "",
            title=f"tau {known['kendall_tau']:.2f}" if known else "",
        )
        axes.grid(alpha=0.3)
    save_png(figure, path)


def main() -> None:
    """Fine-tune the parent, run the missing candidates and draw the figure."""
    parser = arguments(__doc__, name=NAME, seeds=range(COUNT))
    add_case(parser)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    args = parser.parse_args()
    case = chosen_case(args)
    recipe = recipe_of(case)
    settings = {
        "parent": parent_architecture(10, case).key,
        "recipe": recipe.to_dict(),
        "count": COUNT,
        "choices": {name: list(pair) for name, pair in CHOICES.items()},
        "rates": [RATE, *RATES],
    }
    parent = args.work / "parent"
    fine_tuned_parent(parent, args.data, recipe, case=case, device=args.device)
    arms = [("candidate", number) for number in args.seeds]
    result = run_all(
        args,
        arms,
        functools.partial(run, args.data, parent.resolve(), case, args.device),
        settings,
        summary,
    )
    for name, row in result["correlations"].items():
        print_out(f"{name}: {row}")
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
