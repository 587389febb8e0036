"""The table of results in README.md, made from the result files of the experiments.

python -m experiments.lib.readme_summary
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.lib.readme_summary")

from typing import Any

from experiments.lib.arguments import experiment_arguments
from experiments.lib.arms import top1_with_error
from experiments.lib.training_summary import CIFAR10, SIGNS, read
from vbs.console import print_out

Row = tuple[str, str, str]
PUBLISHED = (0.917, 0.317)  # Kendall tau and MAE of the best surrogate in Accel-NASBench (DAC 2024)


def markdown() -> str:
    """Return the table: one row for each result of this project, with a comparison."""
    rows = [_default_search(), _surrogate(), _strategies(), _own_images(), _speed(), _times()]
    lines = ["| measured | this project | compared with |", "|---|---|---|"]
    rows += [_step(), _pretrained(), _smaller()]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _default_search() -> Row:
    points = read("search_front")["points"]
    b0, within = points["EfficientNet-B0"], points["same FLOPs"]
    seconds = read("search_cost")["whole_process"]["wall_seconds_median"]
    return (
        f"default search, {seconds:.1f} s for the whole process: predicted ImageNet top-1 (short "
        "schedule) with at most EfficientNet-B0's FLOPs",
        f"{within['accuracy']:.2f} ± {within['std']:.2f}%",
        f"EfficientNet-B0 {b0['accuracy']:.2f} ± {b0['std']:.2f}%",
    )


def _surrogate() -> Row:
    found = read("imagenet_surrogate")
    best = max(found["families"], key=lambda family: family["kendall_tau"])
    return (
        f"surrogate, cross-validated on {found['measurements']:,} ImageNet trainings: rank "
        "correlation and error",
        f"tau {best['kendall_tau']:.3f}, {best['mae']:.2f} points",
        f"best published tau {PUBLISHED[0]:.3f}, {PUBLISHED[1]:.2f} points",
    )


def _strategies() -> Row:
    def accuracy(name: str, trainings: str) -> str:
        return f"{read('compare_strategies')['summary']['flops'][name][trainings]['accuracy']:.2f}%"

    return (
        "search strategies: predicted ImageNet top-1 of the best network after 50 evaluations",
        f"`predictor` {accuracy('predictor', '50')}",
        f"Optuna's TPE {accuracy('optuna:tpe', '50')}, its Gaussian process "
        f"{accuracy('optuna:gp', '50')}",
    )


def _own_images() -> Row:
    found = read("cifar10_search")
    tops = found["test_top1"]
    minutes = found["searches"]["search"]["seconds"] / 60
    return (
        f"search by training, CIFAR-10 within 4M FLOPs, {minutes:.0f} minutes on two CPU cores",
        top1_with_error(tops["found"], CIFAR10),
        f"best of 15 random networks {top1_with_error(tops['best of 15 random'], CIFAR10)}, "
        "EfficientNet-B0 with fewer channels "
        f"{top1_with_error(tops['EfficientNet-B0 narrowed'], CIFAR10)}",
    )


def _speed() -> Row:
    found = read("training_aware_cifar10")
    networks, minutes = found["networks"], found["search"]["seconds"] / 60

    def shown(name: str) -> str:
        row = networks[name]
        return f"{_top1(row['accuracies'])} in {1e3 * row['step_seconds']:.0f} ms a step"

    return (
        f"training-aware search, CIFAR-10, {minutes:.0f} minutes on two CPU cores",
        shown("found"),
        f"EfficientNet-B0 of the same width {shown('EfficientNet-B0')}",
    )


def _top1(by_seed: dict[str, float]) -> str:
    return f"{sum(by_seed.values()) / len(by_seed):.1f}%"


def _times() -> Row:
    case: dict[str, Any] = read("block_times")["cases"]["latency"]
    return (
        "latency of 40 networks, predicted from block times",
        f"median error {100 * case['median_error']:.1f}%, tau {case['kendall_tau']:.2f}",
        "measured latency",
    )


def _step() -> Row:
    cases = list(read("bench_training")["cases"].values())
    speed = sorted(case["step"]["over_timm"]["median"] for case in cases)
    memory = sorted(case["memory"]["ours_over_timm"] for case in cases)
    return (
        "training step",
        f"{speed[0]:.2f} to {speed[-1]:.2f}x the speed, {memory[0]:.2f} to {memory[-1]:.2f}x the "
        "memory",
        "timm with its fastest settings",
    )


def _pretrained() -> Row:
    found = read("finetune_lite0")["test_top1"]
    return (
        "fine-tuning EfficientNet-Lite0 on 1,642 photographs, 6 epochs",
        top1_with_error(found["pretrained"], SIGNS),
        f"random weights {top1_with_error(found['scratch'], SIGNS)} with the same recipe, which is "
        "made for pretrained weights",
    )


SOME_OF_CIFAR10 = 2000  # images for training and for testing in `pretrained_search --case cifar10`
# kinds of networks in the result of `pretrained_search` -> their names in the table
COMPARED = {
    "uniform shrinking": "uniform shrinking",
    "Torch-Pruning Taylor": "Torch-Pruning",
    "FastNAS": "FastNAS",
    "search from random weights": "a search from random weights",
}


def _smaller() -> Row:
    found = read("pretrained_search_cifar10")
    tops, images = found["test_top1"], SOME_OF_CIFAR10

    others = [
        f"{shown} {top1_with_error(tops[f'{kind} 25%'], images)}"
        for kind, shown in COMPARED.items()
        if f"{kind} 25%" in tops
    ]
    return (
        f"search inside EfficientNet-Lite0 for {images:,} images of CIFAR-10, a quarter of its "
        f"FLOPs (one of three targets, {found['search']['minutes']:.0f} minutes on two CPU cores)",
        top1_with_error(tops["found 25%"], images),
        f"fine-tuned EfficientNet-Lite0 {found['search']['teacher']:.1f}%; {', '.join(others)}",
    )


def main() -> None:
    """Print the table."""
    experiment_arguments(__doc__).parse_args()
    print_out(*markdown().splitlines())
