"""The table of trainings in docs/results.md, made from the result files of the experiments.

python -m experiments.lib.training_summary
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.lib.training_summary")

import json
from typing import Any

from experiments.lib.arguments import experiment_arguments
from experiments.lib.arms import top1_with_error
from experiments.lib.common import RESULTS
from vbs.console import print_out

Rows = list[tuple[str, str, str]]
CIFAR10, SIGNS = 10_000, 417  # test images


def markdown() -> str:
    """Return the table, one row for each result."""
    rows = [*_bench(), *_learning(), *_proxy(), *_data()]
    rows += [*_finetuning(), *_progressive(), *_noisy()]
    return table_of(rows)


def table_of(rows: Rows) -> str:
    """Format rows of (what was measured, result, experiment) as a table."""
    lines = ["| measured | result | command: `python -m experiments.` |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {found} | `{name}` |" for what, found, name in rows)])


def read(name: str) -> dict[str, Any]:
    """Return the result file of an experiment."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def _shown(case: str) -> str:
    """Return the case of bench_training as text, e.g. "b0 at 224"."""
    network, _, side = case.partition("-")
    return f"{'small network' if network == 'proxy' else network} at {side}"


def _bench() -> Rows:
    rows = []
    for case, found in read("bench_training")["cases"].items():
        best, usual = (found["step"][name]["median"] for name in ("over_timm", "over_timm_default"))
        rows.append(
            (
                f"training step compared with timm, {_shown(case)} px",
                f"{best:.2f}x the speed of timm's best setting, {usual:.2f}x the speed of its "
                f"default memory format, {found['memory']['ours_over_timm']:.2f}x the memory",
                "bench_training",
            )
        )
    return rows


def _proxy() -> Rows:
    full = read("proxy_recipe")["full"]
    arms = {"5 epochs of `proxy`": full["5 epochs"], "10 epochs with SGD": full["sgd"]}
    results = (
        f"{name}: {top1_with_error(row['test_top1'], CIFAR10)} in {row['seconds']['mean']:.0f} s"
        for name, row in arms.items()
    )
    return [
        (
            "CIFAR-10, recipe `proxy` with Muon and with SGD, a network of 3.6M FLOPs, on one core",
            "; ".join(results),
            "proxy_recipe",
        )
    ]


def _learning() -> Rows:
    found = read("same_learning")
    seeds = len(found["settings"]["seeds"])
    ours, theirs = (
        top1_with_error(
            {"mean": found[side]["top1_mean"], "sd": found[side]["top1_sd"], "seeds": seeds},
            CIFAR10,
        )
        for side in ("ours", "timm")
    )
    return [
        (
            "accuracy with the same network, recipe and data in this training loop and in timm's, "
            "3 short epochs",
            f"{ours}, timm {theirs}",
            "same_learning",
        )
    ]


def _finetuning() -> Rows:
    found = read("finetune_lite0")["test_top1"]
    return [
        (
            "EfficientNet-Lite0 on 1,642 photographs of hands, 6 epochs",
            f"{top1_with_error(found['pretrained'], SIGNS)} from ImageNet weights, "
            f"{top1_with_error(found['scratch'], SIGNS)} from random weights",
            "finetune_lite0",
        )
    ]


def _progressive() -> Rows:
    rows = []
    for task, arms in read("progressive_learning")["summary"].items():
        images = SIGNS if task == "sign_digits" else CIFAR10
        rising, fixed = (
            top1_with_error(arms[kind]["test_top1"], images) for kind in ("progressive", "fixed")
        )
        rows.append(
            (
                f"progressive learning compared with a fixed image size, {task.replace('_', ' ')}",
                f"{rising}, fixed size {fixed}; {100 * arms['seconds_ratio']:.0f}% of the time",
                "progressive_learning",
            )
        )
    return rows


def _noisy() -> Rows:
    found = read("noisy_student_cifar10")["summary"]
    arms = ", ".join(f"{arm} {row['top1']['mean']:.1f}%" for arm, row in found.items())
    return [("Noisy Student, CIFAR-10 with a tenth of the labels", arms, "noisy_student_cifar10")]


def _data() -> Rows:
    speed = read("data_speed")["speed"]["shift and flip"]["images_per_second"]
    return [
        (
            "loading of an in-memory data set, 32 px, with random shift and flip",
            f"{speed:,} images/s on one core",
            "data_speed",
        )
    ]


def main() -> None:
    """Print the table."""
    experiment_arguments(__doc__).parse_args()
    print_out(*markdown().splitlines())
