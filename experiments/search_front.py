"""How do the networks of the default search compare with EfficientNet-B0?

Runs `python -m nas.search --target-flops 400M` and draws its front of predicted ImageNet accuracy
over FLOPs with EfficientNet-B0: the figure of the README. The accuracies are predictions of the
surrogate under the short schedule of the measurements.

Expected: B0's accuracy with 77% of its FLOPs; 0.83 points more with its FLOPs.
Time: seconds.

    python -m experiments.search_front
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.search_front")

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from nas.evaluators.surrogate import load_surrogate
from search_spaces.catalog import space, zoo
from search_spaces.cost import cost
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

TARGET = "400M"
SAMPLE = 3000  # evaluated networks in the figure
INK, GREY, BLUE, RED = "#24292f", "#c9d1d9", "#0969da", "#cf222e"


def searched() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the front and all evaluated networks of the default search, from its files."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nas.search", "--target-flops", TARGET, "--out"]
        subprocess.run([*command, f"{folder}/run"], check=True, capture_output=True)
        run = Path(folder, "run")
        columns = ["accuracy", "flops"]
        front = pd.read_csv(run / "pareto.csv")
        return front, pd.read_parquet(run / "history.parquet", columns=columns)


def b0_point() -> dict[str, float]:
    """Return accuracy, its error, and FLOPs of EfficientNet-B0, predicted by the surrogate."""
    efficientnet = space("efficientnet")
    genotype = efficientnet.encode(efficientnet.references["EfficientNet-B0"])
    accuracy, std = load_surrogate("imagenet").predict(genotype[None])
    return {
        "accuracy": accuracy[0].item(),
        "std": std[0].item(),
        "flops": cost(zoo("efficientnet_b0")).flops,
    }


def compared(front: pd.DataFrame, b0: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return the cheapest network as accurate as B0, and the most accurate within B0's FLOPs."""
    as_accurate = front[front.accuracy >= b0["accuracy"]].iloc[0]
    within = front[front.flops <= b0["flops"]].iloc[-1]
    return {
        name: {
            "accuracy": float(row.accuracy),
            "std": float(row.accuracy_std),
            "flops": int(row.flops),
        }
        for name, row in (("same accuracy", as_accurate), ("same FLOPs", within))
    }


def draw(path: Path, front: pd.DataFrame, evaluated: pd.DataFrame, found: dict[str, Any]) -> None:
    """Draw the front, a sample of the evaluated networks, B0, and arrows to the networks found."""
    figure = new_figure(8.4, 4.2, dpi=150)
    axes = figure.add_subplot()
    sample = evaluated.sample(SAMPLE, random_state=0)
    axes.plot(sample.flops / 1e6, sample.accuracy, ".", ms=2.5, c=GREY)
    axes.plot(front.flops / 1e6, front.accuracy, c=BLUE, lw=2)
    b0 = found["EfficientNet-B0"]
    for name in ("same accuracy", "same FLOPs"):
        point = found[name]
        place = (point["flops"] / 1e6, point["accuracy"])
        axes.annotate(
            "",
            place,
            (b0["flops"] / 1e6, b0["accuracy"]),
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 7, "shrinkB": 5},
        )
        axes.plot(*place, "o", ms=8, c=BLUE, mec="white", mew=1.2, zorder=4)
    axes.plot(b0["flops"] / 1e6, b0["accuracy"], "o", ms=8, c=RED, mec="white", mew=1.2, zorder=5)
    _label(axes, found, front)
    axes.set_xlim(150, 405)
    axes.set_ylim(60.5, 67.3)
    axes.set_xlabel("FLOPs (multiply-adds of one image, in millions)")
    axes.set_ylabel("predicted ImageNet top-1 (%), short schedule")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, lw=0.6)
    save_png(figure, path)


def _label(axes: Any, found: dict[str, Any], front: pd.DataFrame) -> None:
    """Write the names of the points next to them, instead of a legend."""
    b0 = found["EfficientNet-B0"]
    fewer = 1 - found["same accuracy"]["flops"] / b0["flops"]
    more = found["same FLOPs"]["accuracy"] - b0["accuracy"]
    x, y = b0["flops"] / 1e6, b0["accuracy"]
    middle = (x + found["same accuracy"]["flops"] / 1e6) / 2
    box = {"fc": "white", "ec": "none", "pad": 1.5, "alpha": 0.85}
    axes.text(x, y - 0.35, "EfficientNet-B0", c=RED, ha="center", va="top", bbox=box)
    axes.text(
        middle, y - 0.12, f"{100 * fewer:.0f}% fewer FLOPs", c=INK, ha="center", va="top", bbox=box
    )
    axes.text(x + 3, y + more / 2, f"+{more:.1f}\npoints", c=INK, ha="left", va="center", bbox=box)
    row = front.iloc[(front.flops - 215e6).abs().argmin()]
    axes.text(
        row.flops / 1e6 - 3,
        row.accuracy + 0.1,
        "best networks found",
        c=BLUE,
        ha="right",
        va="bottom",
    )
    axes.text(300, 62.2, "evaluated networks (a sample)", c="#6e7781", ha="left")


def main() -> None:
    """Search, compare, write the figure and its numbers."""
    experiment_arguments(__doc__).parse_args()
    front, evaluated = searched()
    b0 = b0_point()
    found = {"EfficientNet-B0": b0, **compared(front, b0)}
    write_json(RESULTS / "search_front.json", {"points": found, **settings_of_machine()})
    draw_picture(RESULTS / "search_front.png", lambda path: draw(path, front, evaluated, found))
    for name, point in found.items():
        print_out(
            f"{name:16} {point['accuracy']:.2f} ± {point['std']:.2f}%  {point['flops']:,} FLOPs"
        )
