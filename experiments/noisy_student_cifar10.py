"""What are unlabelled images worth? Noisy Student on CIFAR-10 with a tenth of the labels.

A stratified tenth of the training images, drawn with the seed, keeps its labels: 5,000 images. The
other 45,000 are unlabelled. No images are held out: every arm takes the weights of the last step,
and nothing is selected on the test split, on which all arms are scored. Arms, with one small
network (4.3M FLOPs at 32 px):

teacher    trained on the labelled images with crop and flip.
longer     the same for twice as many epochs: the baseline of the students.
student    Noisy Student: soft labels of the teacher, confidence 0.3, balanced classes, with noise
           (weak RandAugment, dropout, stochastic depth). It sees four times as many images as the
           teacher, twice as many as `longer`; the share ratio / (1 + ratio) of them is
           pseudo-labelled. (With as many images as `longer` and RandAugment of magnitude 5 it was
           worse: 68.5% and 70.1%, 24 epochs, seed 0.)
student-2  the same, with the student as its teacher.

Expected: student above longer, student-2 at or above student. Measured: both are four to six points
above their teacher, and 1.8 and 0.4 points below `longer`: with trainings short enough for a CPU
the teacher is far from its plateau, and training it longer helps more than unlabelled images.
Time: 0.7 million images for each seed, about 7 minutes on one idle core (1,600 images/s); three
seeds as three processes on two idle cores: 12 minutes.

    python -m experiments.noisy_student_cifar10 --data parquet:../shared/data/cifar10 --processes 2

Rerun the command to resume an interrupted run. Several commands may share --work, each with
different --seeds; each writes all finished arms to --out.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.noisy_student_cifar10")

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import Options, experiment_arguments
from experiments.lib.arms import gpu_share, side_by_side
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.student_arms import ARMS, NETWORK, Setup, run_arm
from train.data import load
from train.options import SizeOptions
from train.resolve import architecture_of
from vbs.console import print_err, print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json
from vbs.lock import owned


def run_seed(
    seed: int,
    arms: list[str],
    work: Path,
    setup: Setup,
    data_text: str,
    finished: Callable[[], None] | None = None,
) -> None:
    """Run the arms of a seed that have not ended; each outcome is written when its arm ends.

    Raises ValueError if the folder of the seed has other data, or another process uses it.
    """
    place = work / f"seed-{seed}"
    todo = [arm for arm in ARMS if arm in arms and not (place / f"{arm}.json").exists()]
    if not todo:
        return
    place.mkdir(parents=True, exist_ok=True)
    with owned(place, "experiments.noisy_student_cifar10"):
        data = load(data_text, minival=0.0)
        known = place / "data.json"
        digests = data.digests
        if known.exists() and json.loads(known.read_text()) != digests:
            raise ValueError(
                f"data: {place} was started with other data than {data_text}; use another --work"
            )
        write_json(known, digests)
        for arm in todo:
            outcome = run_arm(arm, seed, place, data, setup)
            write_json(place / f"{arm}.json", outcome)
            print_err(f"seed {seed} {arm}: {outcome['top1']:.2f}%")
            if finished is not None:
                finished()


def gather(work: Path) -> list[dict[str, Any]]:
    """Return the outcomes of all seeds in the work folder, by seed and arm."""
    places = sorted(work.glob("seed-*"), key=lambda place: int(place.name.partition("-")[2]))
    paths = [place / f"{arm}.json" for place in places for arm in ARMS]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation of every arm's top-1 and of its difference to `longer`.

    In percent and points; the deviation is that over seeds (n - 1; None for one seed). Differences
    are taken within a seed.
    """
    table: dict[str, Any] = {}
    longer = {run["seed"]: run["top1"] for run in runs if run["arm"] == "longer"}
    for arm in [arm for arm in ARMS if any(run["arm"] == arm for run in runs)]:
        own = {run["seed"]: run["top1"] for run in runs if run["arm"] == arm}
        gains = [top1 - longer[seed] for seed, top1 in own.items() if seed in longer]
        table[arm] = {"top1": _spread(list(own.values())), "above_longer": _spread(gains)}
    return table


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(float(np.mean(values)), 3) if values else None,
        "std": round(float(np.std(values, ddof=1)), 3) if len(values) > 1 else None,
        "seeds": len(values),
    }


def draw(path: Path, runs: list[dict[str, Any]]) -> None:
    """Draw a point for every seed and arm, connected within a seed, and the mean of each arm."""
    figure = new_figure(6.4, 4.2, dpi=150)
    axes = figure.subplots()
    table = summary(runs)
    arms = list(table)
    for seed in sorted({run["seed"] for run in runs}):
        own = {run["arm"]: run["top1"] for run in runs if run["seed"] == seed}
        shown = [arm for arm in arms if arm in own]
        places = [arms.index(arm) for arm in shown]
        axes.plot(
            places, [own[arm] for arm in shown], "o-", alpha=0.6, lw=0.8, label=f"seed {seed}"
        )
    for place, arm in enumerate(arms):
        mean, std = table[arm]["top1"]["mean"], table[arm]["top1"]["std"]
        axes.hlines(mean, place - 0.25, place + 0.25, color="black", lw=2)
        text = f"{mean:.2f}" + (f" ± {std:.2f}" if std is not None else "")
        axes.annotate(text, (place, mean), (0, -14), textcoords="offset points", ha="center")
    axes.set_xticks(range(len(arms)), arms)
    axes.margins(x=0.15, y=0.2)
    axes.set_ylabel("test top-1, %")
    axes.set_title("CIFAR-10 with 10% of the labels; mean ± standard deviation", fontsize=10)
    axes.legend(frameon=False)
    save_png(figure, path)


def write(arguments: Options, setup: Setup) -> None:
    """Write the result file and its figure; it is marked as partial while any arm is missing."""
    runs, out = gather(arguments.work), arguments.out
    seeds = {*arguments.seeds, *(run["seed"] for run in runs)}
    expected = {(arm, seed) for seed in seeds for arm in ARMS}
    missing = expected - {(run["arm"], run["seed"]) for run in runs}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        out,
        {
            "partial": bool(missing),
            "settings": setup.settings(),
            **settings_of_machine(),
            "seeds": sorted({run["seed"] for run in runs}),
            "summary": summary(runs),
            "runs": runs,
        },
    )
    if runs:
        draw_picture(out.with_suffix(".png"), lambda path: draw(path, runs))


def setup_of(arguments: Options) -> Setup:
    """Return the settings of all arms; raises ValueError for invalid numbers."""
    if arguments.epochs < 1 or not 0 < arguments.ratio < 100:
        raise ValueError("--epochs: use 1 or more; --ratio: use 0 to 100")
    size = SizeOptions(
        resolution=arguments.resolution,
        width=arguments.width,
        depth=arguments.depth,
        small_images=arguments.small_images,
    )
    architecture = architecture_of(arguments.network, size) if arguments.network else NETWORK
    architecture = replace(architecture, classes=10)
    return Setup(arguments.epochs, arguments.ratio, architecture, arguments.device)


def agreed(work: Path, setup: Setup) -> None:
    """Record the settings in the work folder; raises ValueError if it has other settings."""
    path, settings = work / "settings.json", setup.settings()
    if path.exists():
        known = json.loads(path.read_text())
        for name, value in json.loads(json.dumps(settings)).items():
            if known.get(name) != value:
                raise ValueError(f"{work} was started with another {name}; use another --work")
    work.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def _one_seed(arguments: Options, setup: Setup, seed: int) -> None:
    """Run all arms of a seed, in a process of its own."""
    run_seed(seed, arguments.arms, arguments.work, setup, arguments.data)


def _arguments() -> Options:
    parser = experiment_arguments(__doc__)
    add = parser.add_argument
    add("--data", default="cifar10", help="cifar10, or parquet:DIR (default cifar10)")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--processes", type=int, default=1, help="seeds at once, one thread each")
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="arms to train (default: all)")
    add("--epochs", type=int, default=12, help="epochs of the teacher")
    add("--ratio", type=float, default=3.0, help="pseudo-labelled images for each labelled one")
    add("--network", metavar="FILE|zoo", help="network to train instead of the small one")
    add("--width", type=float)
    add("--depth", type=float)
    add("--resolution", type=int)
    add("--small-images", action="store_true")
    add("--device", default="cpu")
    add("--work", type=Path, default=Path("runs/noisy-student-cifar10"))
    add("--out", type=Path, default=RESULTS / "noisy_student_cifar10.json")
    arguments = parser.parse_args()
    if arguments.processes < 1 or min(arguments.seeds) < 0:
        raise ValueError("--processes: use 1 or more; --seeds: use 0 or more")
    return arguments


def main() -> None:
    """Run the missing arms, write the results after every seed, print the table."""
    arguments = _arguments()
    setup = setup_of(arguments)
    agreed(arguments.work, setup)

    def finished() -> None:
        write(arguments, setup)

    if arguments.processes > 1:
        run = functools.partial(_one_seed, arguments, setup)
        gpus = gpu_share(arguments.device, arguments.processes)
        for _ in side_by_side(run, arguments.seeds, arguments.processes, gpus=gpus):
            finished()
    else:
        for seed in arguments.seeds:
            run_seed(seed, arguments.arms, arguments.work, setup, arguments.data, finished)
        finished()
    print_out(*json.dumps(summary(gather(arguments.work)), indent=1).splitlines())
