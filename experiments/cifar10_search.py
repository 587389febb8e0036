"""A complete search by training on CIFAR-10: 4M FLOPs, two processors, less than an hour.

What: (1) `nas.search --evaluator proxy` on the compact space; (2) the same command with strategy
`random`, 15 networks and no early stopping, as a baseline; (3) final trainings of the network
found, of the best of the 15, and of EfficientNet-B0 in its form for small images, narrowed to the
same FLOPs, with the recipe `proxy` (6 epochs of all images), scored on the test images. The first
two, which are close, are trained with five seeds, B0 with three. (1) and (2) select networks on
images held out of the training set; only (3) uses the test images.
Expected: the network found is ahead of both by more than the deviation between seeds. Measured:
results/cifar10_search.json and .png (the figure of the search). Time: three quarters of an hour for
(1), a quarter for (2), half an hour for (3); rerun the command to resume.
Command:

    python -m experiments.cifar10_search --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.cifar10_search")

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.lib.arms import Arm, arguments, each_seed, mean_and_sd, run_all
from experiments.lib.common import RESULTS
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.scale import for_small_images, scale
from train.execution import Execution
from train.recipe import change, preset
from vbs.console import print_out

NAME = "cifar10_search"
TARGET = 4_000_000
SEARCHES = {
    "search": ["--budget", "160", "--max-time", "2400s"],
    "random": ["--strategy", "random", "--budget", "15", "--scheduler", "fifo", "--finalists", "0"],
}
COMMON = [
    "--evaluator",
    "proxy",
    "--space",
    "compact",
    "--target-flops",
    "4M",
    "--reward",
    "feasible",
]
FIDELITY = "epochs=9,share=0.2"
FINAL = ("minival=0", "epochs=6")
NARROWED = "EfficientNet-B0 narrowed"
NARROWED_SEEDS = 3


def narrowed_b0() -> Architecture:
    """Return B0 for 32 px and 10 classes, as wide as the target allows."""
    base = for_small_images(zoo("efficientnet_b0"))
    widths = (scale(base, width=step / 100, resolution=32 / 224) for step in range(100, 5, -1))
    fits = (network for network in widths if cost(network).flops <= TARGET)
    return Architecture.from_dict({**json.loads(next(fits).to_json()), "classes": 10})


def search(args: Any, name: str) -> Path:
    """Start or resume a search until it has finished; return its folder."""
    folder = args.work / name
    state = folder / "search.json"
    if state.exists() and json.loads(state.read_text())["status"] in ("finished", "out of time"):
        return folder
    begin = [
        *COMMON,
        *SEARCHES[name],
        "--data",
        args.data,
        "--fidelity",
        FIDELITY,
        "--workers",
        str(args.processes),
    ]
    begun = (folder / "study.db").exists()
    if not begun:  # a run interrupted before its first record holds no results
        shutil.rmtree(folder, ignore_errors=True)
    words = ["--resume"] if begun else begin
    command = [sys.executable, "-m", "nas.search", *words, "--out", str(folder)]
    if subprocess.run(command).returncode:
        raise ValueError(f"{name}: the search failed; see above")
    return folder


def networks(work: Path) -> dict[str, Architecture]:
    """Return the networks of the final trainings by name."""
    best = {
        name: Architecture.from_dict(
            json.loads((work / name / "best.json").read_text())["architecture"]
        )
        for name in SEARCHES
    }
    return {"found": best["search"], "best of 15 random": best["random"], NARROWED: narrowed_b0()}


def trained(source: str, architecture: Architecture, seed: int, folder: Path) -> dict[str, Any]:
    """Train a network with the final recipe; return its test accuracy."""
    from train.data import load
    from train.loop import train

    recipe = change(preset("proxy"), [*FINAL, f"seed={seed}"])
    data = load(source, minival=0.0, seed=seed)
    result = train(architecture, data, recipe, execution=Execution(checkpoint=folder, device="cpu"))
    assert result.test is not None, result.failed
    return {
        "test_top1": round(result.test.top1, 2),
        "seconds": round(result.seconds, 1),
        "flops": cost(architecture).flops,
        "params": cost(architecture).params,
    }


def searched(work: Path) -> dict[str, Any]:
    """Return the results of the searches from their records."""
    found = {}
    for name in SEARCHES:
        record = json.loads((work / name / "search.json").read_text())
        best = json.loads((work / name / "best.json").read_text())
        chosen = ("choices", "flops", "params", "accuracy", "accuracy_std", "evaluations")
        found[name] = {
            "settings": {
                key: value for key, value in record["settings"].items() if value not in (None, [])
            },
            "status": record["status"],
            **record["outcome"],
            "best": {key: best[key] for key in chosen},
        }
    return found


def main() -> None:
    """Run both searches, then train the selected networks."""
    parser = arguments(__doc__, name=NAME, seeds=range(5))
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for name in SEARCHES:
        search(args, name)
    shutil.copyfile(args.work / "search" / "pareto.png", RESULTS / f"{NAME}.png")
    finals = networks(args.work)
    settings = {
        "target_flops": TARGET,
        "fidelity": FIDELITY,
        "final_recipe": ", ".join(("proxy", *FINAL)),
        "networks": {name: json.loads(network.to_json()) for name, network in finals.items()},
    }

    def run(name: str, seed: int, folder: Path) -> dict[str, Any]:
        return trained(args.data, finals[name], seed, folder)

    def summary(done: dict[Arm, dict[str, Any]]) -> dict[str, Any]:
        tops = {
            name: mean_and_sd([row["test_top1"] for (arm, _), row in done.items() if arm == name])
            for name in finals
            if any(arm == name for arm, _ in done)
        }
        return {"test_top1": tops, "searches": searched(args.work)}

    arms = [
        (name, seed)
        for name, seed in each_seed(list(finals), args.seeds)
        if name != NARROWED or seed in args.seeds[:NARROWED_SEEDS]
    ]
    result = run_all(args, arms, run, settings, summary)
    print_out(*json.dumps(result["test_top1"], indent=2).splitlines())
