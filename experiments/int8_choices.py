"""What do activation and squeeze-and-excitation cost in int8, and must a search know it?

What: four networks spread over the compact space within 4M FLOPs at 32 px, each with three
activations (ReLU6, SiLU, hard-swish), without and with squeeze-and-excitation (SE, a quarter of a
block's input channels): 24 networks, trained on CIFAR-10 with the recipe `proxy` for 3 epochs. Each
is quantised to int8 (onnxruntime, static, per channel, ranges of 128 training images) and scored on
the minival and on the test images. Shown: points of test accuracy lost by activation and SE; the
latency of one image in float and in int8 on one thread; and the int8 accuracy of the network that
is best on the minival in float, compared with that of the network that is best in int8.
Expected: ReLU6 without SE loses least, SiLU with SE most, which is the reason for
EfficientNet-Lite.
Time: an hour on 2 CPU cores; resumable. Needs the extra onnx. Command:

    python -m experiments.int8_choices --data parquet:../shared/data/cifar10

Writes experiments/results/int8_choices.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.int8_choices")

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.lib.arms import Arm, arguments, each_seed, run_all
from experiments.lib.networks import COMPACT_FLOPS, compact_space
from nas.evaluators.quantised import CALIBRATION, Quantiser, check_installed
from nas.fidelity.plan import spread
from nas.objective import Objective
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from train.data import Data, load
from train.data.augment import Preparation
from train.execution import Execution
from train.export.int8_network import int8_function
from train.export.latency import latencies
from train.export.onnx_file import write_onnx
from train.export.runtimes import onnx_function
from train.inherit.inheritance import some_batches
from train.loop import train
from train.recipe import Recipe, change, preset
from train.state import preparation, resolved
from vbs.accuracy import standard_error
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png

ACTIVATIONS, GATES = ("relu6", "silu", "hard_swish"), (0.0, 0.25)
SHAPES, EPOCHS = 4, 3


def networks() -> dict[str, Architecture]:
    """Return all 24 networks, with names such as "2 silu SE"."""
    space = compact_space()
    genotypes = spread(space, Objective(COMPACT_FLOPS, "feasible"), SHAPES)
    found = {}
    for shape, genotype in enumerate(genotypes):
        plain: Architecture = space.decode(genotype)
        for activation in ACTIVATIONS:
            for gate in GATES:
                stages = tuple(replace(stage, se=gate) for stage in plain.stages)
                name = f"{shape} {activation}{' SE' * bool(gate)}"
                found[name] = replace(plain, stages=stages, activation=activation)
    return found


def recipe_of(seed: int) -> Recipe:
    """Return the recipe of all trainings."""
    return change(preset("proxy"), [f"epochs={EPOCHS}", f"seed={seed}"])


def run(source: str, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one network, quantise it, and measure both forms."""
    network, recipe = networks()[name], recipe_of(seed)
    data = load(source, minival=recipe.minival)
    execution = Execution(checkpoint=folder, device="cpu")
    outcome = train(network, data, recipe, execution=execution)
    assert outcome.network is not None, outcome.failed
    assert outcome.test is not None
    assert data.minival is not None
    assert data.test is not None
    prepared = preparation(resolved(recipe, network))
    int8 = Quantiser(data.train, prepared).top1(outcome.network, data.minival, data.test)
    times = latencies(_functions(outcome.network, data, prepared, folder))
    return {
        "name": name,
        "seed": seed,
        "flops": cost(network).flops,
        "minival": {"float": outcome.chosen["top1"], "int8": int8[0]},
        "test": {"float": outcome.test.top1, "int8": int8[1]},
        "milliseconds": {kind: round(1000 * each.median, 4) for kind, each in times.items()},
        "seconds": round(outcome.seconds, 1),
    }


def _functions(
    network: torch.nn.Module, data: Data, prepared: Preparation, folder: Path
) -> dict[str, Callable[[], Any]]:
    """Return functions that compute one image in float and in int8 on one thread (onnxruntime)."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    batches = [x for x, _ in some_batches(data.train, prepared, device=cpu, count=CALIBRATION)]
    image, path = batches[0][:1].contiguous(), folder / "float32.onnx"
    write_onnx(path, network, (2, *image.shape[1:]), any_batch=True)
    sides = {"float": onnx_function(path), "int8": int8_function(network, batches)}
    return {kind: functools.partial(function, image) for kind, function in sides.items()}


def summary(done: Mapping[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the losses by activation and SE, and the gain of a choice by int8 accuracy."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in done.values():
        kinds.setdefault(row["name"].partition(" ")[2], []).append(row)
    table = {kind: _row(rows) for kind, rows in sorted(kinds.items())}
    if not done:
        return {"kinds": table}
    chosen = {
        kind: max(done.values(), key=lambda row: row["minival"][kind]) for kind in ("float", "int8")
    }
    return {
        "kinds": table,
        "best_by_minival": {
            kind: {"name": row["name"], "test": row["test"]} for kind, row in chosen.items()
        },
    }


def _row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over shapes and seeds; the error is the standard error of the mean loss."""
    losses = np.array([row["test"]["float"] - row["test"]["int8"] for row in rows])
    error = standard_error(losses) if len(losses) > 1 else None
    times = [row["milliseconds"] for row in rows]
    return {
        "networks": len(rows),
        "float_top1": round(float(np.mean([row["test"]["float"] for row in rows])), 3),
        "points_lost": round(float(losses.mean()), 3),
        "error": None if error is None else round(error, 3),
        "int8_over_float_latency": round(
            float(np.median([each["int8"] / each["float"] for each in times])), 3
        ),
    }


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw the points lost by activation and SE."""
    figure = new_figure(7, 4, dpi=120)
    axes = figure.add_subplot()
    kinds = list(result["kinds"].items())
    axes.bar(
        [kind for kind, _ in kinds],
        [row["points_lost"] for _, row in kinds],
        yerr=[row["error"] or 0.0 for _, row in kinds],
        color=["tab:orange" if "SE" in kind else "tab:blue" for kind, _ in kinds],
        capsize=3,
    )
    partial = " (partial)" if result["partial"] else ""
    axes.set(
        ylabel="points of test accuracy lost in int8",
        title=f"CIFAR-10, {EPOCHS} epochs, static int8 by onnxruntime{partial}",
    )
    axes.grid(alpha=0.3, axis="y")
    save_png(figure, path)


def main() -> None:
    """Run the missing arms and draw the figure."""
    parser = arguments(__doc__, name="int8_choices", seeds=(0,))
    parser.add_argument(
        "--data", required=True, help="CIFAR-10, as for train.run, e.g. parquet:DIR"
    )
    args = parser.parse_args()
    check_installed()
    settings = {"epochs": EPOCHS, "shapes": SHAPES, "recipe": recipe_of(0).to_dict()}
    arms = each_seed(list(networks()), args.seeds)
    result = run_all(args, arms, functools.partial(run, args.data), settings, summary)
    for kind, row in result["kinds"].items():
        print_out(f"{kind}: {row}")
    for kind, row in result.get("best_by_minival", {}).items():
        print_out(f"best in {kind}: {row['name']}, test {row['test']}")
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
