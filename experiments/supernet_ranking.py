"""Do shared weights rank networks, and what does a search with them find?

What: (1) `nas.search --evaluator supernet` on the compact space within 4M FLOPs at 32 px, in the 46
minutes on two processors that the search by training of `cifar10_search` took; (2) the judge: 24
networks spread over the space, each trained stand-alone with the recipe of that experiment
(`proxy`, 6 epochs of all images) and two seeds, scored on the test images; (3) the supernet's
scores of these networks; (4) short trainings of them in as many processor seconds as the supernet's
training and these scores took; (5) the network found, trained as those of the judge, with five
seeds. Shown: Kendall tau of supernet, FLOPs, params and short trainings with the judge, and the
accuracy of the network found compared with the 80.8% of the search by training. Goal: tau at least
.5 and .1 above the best of FLOPs and params; 80.8 ± .3%. Also shown: tau with the 48 recorded
accuracies of `cifar10_curves`, which needs no training.
Time: on two CPU cores 46 minutes for (1), 2 hours for (2), half an hour each for (4) and (5);
resumable. (2) to (5) need neither Ray nor Optuna and may run on another machine, such as on a GPU
(`--part judge --device cuda --processes 12`), if the partial result file is copied there. Without a
search, (3) trains the supernet itself. Command:

    python -m experiments.supernet_ranking --data parquet:../shared/data/cifar10

Writes experiments/results/supernet_ranking.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.supernet_ranking")

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.lib.arms import Arm, arguments, mean_and_sd, run_all
from experiments.lib.common import RESULTS
from experiments.lib.networks import COMPACT_FLOPS, compact_space
from nas.fidelity.plan import spread
from nas.fidelity.ranks import kendall
from nas.objective import Objective
from nas.supernet.judge import SEEDS, SHORT_SEED, Judge
from nas.supernet.verdict import Verdict, verdict
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from train.execution import Execution
from train.recipe import Recipe, change, preset
from vbs.console import print_err, print_out
from vbs.figure import draw_picture, new_figure, save_png

if TYPE_CHECKING:
    from train.data import Data
    from train.supernet.training import Trained

NAME = "supernet_ranking"
COUNT, FOUND_SEEDS = 24, 5
EPOCHS = 6  # of the judge's trainings
# with the same precision on a GPU as on a CPU
FINAL = ("minival=0", f"epochs={EPOCHS}", "precision=float32")
SUPERNET_EPOCHS, BUDGET, MAX_TIME = 14, 600, "500s"
FINALISTS = ["--finalists", "8", "--repeats", "2"]
FIDELITY = "epochs=9,share=0.2"  # of the finalists; that of the search by training
ENDED = ("finished", "out of time")
PARTS = ("search", "judge", "supernet", "short", "found")


def judges(count: int) -> np.ndarray:
    """Return the networks of the judge, int8 [count, decisions]."""
    return spread(compact_space(), Objective(COMPACT_FLOPS, "feasible"), count)


class Task(NamedTuple):
    """Settings that all arms share.

    device  of the trainings.
    count   number of networks of the judge.
    epochs  of the supernet; labels: the weight of the labels in its loss.
    """

    data: str
    work: Path
    device: str
    count: int
    epochs: int
    labels: float


def search(args: Any) -> Path:
    """Start or resume the search until it has finished; return its folder."""
    folder = args.work / "search"
    record = folder / "search.json"
    records = (record, folder / "finalists" / "search.json")
    if all(each.exists() and json.loads(each.read_text())["status"] in ENDED for each in records):
        return folder
    begun = (folder / "study.db").exists()
    if not begun:  # a run interrupted before its first record has no results
        shutil.rmtree(folder, ignore_errors=True)
    words = ["--resume"] if begun else [*("--evaluator", "supernet", "--space", "compact")]
    if not begun:
        words += ["--target-flops", str(COMPACT_FLOPS), "--reward", "feasible", "--judge", "0"]
        words += ["--supernet-labels", str(args.supernet_labels)]
        words += ["--supernet-epochs", str(args.supernet_epochs), "--budget", str(args.budget)]
        words += [*FINALISTS, "--fidelity", args.fidelity]
        words += ["--max-time", MAX_TIME, "--data", args.data, "--workers", "2"]
        words += ["--cache", str((args.work / "results").resolve())]
    command = [sys.executable, "-m", "nas.search", *words, "--out", str(folder)]
    if subprocess.run(command).returncode:
        raise ValueError("the search failed; see above")
    return folder


def run(task: Task, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run one arm; return its outcome."""
    kind, _, number = name.partition("-")
    if kind == "supernet":
        return scored(task)
    if kind == "found":
        best = json.loads((task.work / "search" / "best.json").read_text())
        return trained(task, Architecture.from_dict(best["architecture"]), seed, folder)
    genotype = judges(task.count)[int(number)]
    if kind == "judge":
        return trained(task, compact_space().decode(genotype), seed, folder)
    return shortly(task, genotype, seed, folder)


def trained(task: Task, network: Architecture, seed: int, folder: Path) -> dict[str, Any]:
    """Train a network with the recipe of the judge; return its test accuracy."""
    from train.distributed import pick_device
    from train.loop import train

    recipe = change(preset("proxy"), [*FINAL, f"seed={seed}"])
    execution = Execution(checkpoint=folder, device=task.device)
    result = train(network, all_images(task.data), recipe, execution=execution)
    assert result.test is not None, result.failed
    return {
        "test_top1": round(result.test.top1, 3),
        "seconds": round(result.seconds, 1),
        "flops": cost(network).flops,
        "params": cost(network).params,
        "key": network.key,
        "device": str(pick_device(task.device).type),
    }


@functools.cache
def all_images(source: str) -> Data:
    """Return all training images and the test images, decoded once in a process."""
    from train.data import load

    return load(source, minival=0.0)


def judge_of(recipe: Recipe, task: Task) -> Judge:
    """Return the judge of the command on the same networks; its trainings are shortened."""
    from nas.evaluators.proxy import DataIdentity, Fidelity
    from train.data.summary import summarise

    data = summarise(task.data, minival=recipe.minival)
    identity = DataIdentity(data.digests, recipe.minival)
    networks, longest = judges(task.count), Fidelity(EPOCHS)
    return Judge(compact_space(), identity, networks, recipe, longest, data.train, data.minival)


def scored(task: Task) -> dict[str, Any]:
    """Return the supernet's scores of the judge's networks and the short training of equal seconds.

    Also returns its tau with the recorded accuracies of `cifar10_curves`.
    """
    import torch

    from nas.evaluators.proxy import EVALUATION, image_seconds
    from nas.evaluators.supernet import Shared
    from train.data import load

    recipe = preset("proxy")
    data = load(task.data, minival=recipe.minival, test=False)
    path, known = weights(task, data)
    torch.set_num_threads(1)
    space, genotypes = compact_space(), judges(task.count)
    shared = Shared(data, path, path.parent.name, recipe, device=task.device)
    found = shared.evaluate(space, genotypes)
    others, accuracies = recorded()
    costs = space.costs(others)
    of_others = {
        "supernet": shared.evaluate(space, others).accuracy,
        "FLOPs": costs.flops,
        "params": costs.params,
    }
    spent = known.work + float(found.seconds.sum())
    judge = judge_of(recipe, task)
    middle = space.decode(genotypes[len(genotypes) // 2])
    each = image_seconds(middle, recipe, device=task.device, threads=1)
    whole = judge.fidelity.epochs * (judge.images + EVALUATION * judge.held)
    short = judge.short(spent / len(genotypes) / each / whole)
    return {
        **of_search(task.work),
        "scores": [round(float(value), 3) for value in found.accuracy],
        "tau_with_recorded_curves": {
            name: round(float(kendall(np.asarray(values, float), accuracies)), 3)
            for name, values in of_others.items()
        },
        "training_seconds": round(known.seconds, 1),
        "steps": known.steps,
        "work": round(known.work, 1),
        "score_seconds": round(float(np.median(found.seconds)), 3),
        "spent": round(spent, 1),
        "short": str(short),
    }


def weights(task: Task, data: Data) -> tuple[Path, Trained]:
    """Return the file of the search's supernet, and its content.

    Without a search the supernet is trained here, and a later search uses it.
    """
    from nas.history import History
    from nas.storage.cache import key_of
    from nas.supernet.scoring import training_of
    from nas.supernet.shared import recipe_of, trained_weights
    from train.supernet.training import WEIGHTS, read_supernet

    files = list(task.work.glob(f"supernets/*/{WEIGHTS}"))
    if not files:
        history = History(compact_space(), Objective(COMPACT_FLOPS, "feasible"))
        recipe = recipe_of(preset("proxy"), task.epochs)
        training = training_of(history, data, recipe, labels=task.labels)
        folder = task.work / "supernets" / key_of(training.identity())[:32]
        return folder / WEIGHTS, trained_weights(training, folder, device=task.device)
    if len(files) > 1:
        raise ValueError(f"{task.work} holds {len(files)} supernets; use another --work")
    known = read_supernet(files[0])
    assert known is not None
    return files[0], known


def of_search(work: Path) -> dict[str, Any]:
    """Return the results in the record of the search; {} without a record."""
    if not (work / "search" / "search.json").exists():
        return {}
    record = json.loads((work / "search" / "search.json").read_text())
    finalists = json.loads((work / "search" / "finalists" / "search.json").read_text())
    return {
        "settings": {k: v for k, v in record["settings"].items() if v not in (None, [])},
        "search_seconds": record["outcome"]["seconds"],
        "finalists_seconds": finalists["outcome"]["seconds"],
        "evaluated": record["outcome"]["evaluated"],
    }


def recorded() -> tuple[np.ndarray, np.ndarray]:
    """Return the genotypes [48, decisions] of `cifar10_curves` and their accuracies at the end."""
    reached: dict[bytes, list[float]] = {}
    space = compact_space()
    for row in json.loads((RESULTS / "cifar10_curves.json").read_text())["arms"]:
        reached.setdefault(space.encode(row["choices"]).tobytes(), []).append(row["accuracy"][-1])
    genotypes = np.array([np.frombuffer(key, np.int8) for key in reached])
    return genotypes, np.array([np.mean(values) for values in reached.values()])


def shortly(task: Task, genotype: np.ndarray, seed: int, folder: Path) -> dict[str, Any]:
    """Train a network for a short time; return its minival accuracy."""
    import time

    from nas.evaluators.proxy import Fidelity, Proxy, shared_data

    recipe = replace(preset("proxy"), precision="float32")
    text = json.loads((task.work / "supernet-0.json").read_text())["short"]
    fidelity = Fidelity.parse(text, epochs=EPOCHS)
    clock = time.process_time if task.device == "cpu" else time.perf_counter
    data = shared_data(task.data, recipe.minival)
    proxy = Proxy(data, recipe, fidelity, Execution(device=task.device), clock=clock)
    last = list(proxy.curve(compact_space(), genotype, seed=seed, folder=folder))[-1]
    return {"minival_top1": round(last.accuracy, 3), "seconds": round(last.seconds, 1)}


def summary(count: int, done: Mapping[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the verdict if all networks of the judge and the supernet have ended."""
    found = verdict_of(count, done)
    tops = [row["test_top1"] for (name, _), row in done.items() if name == "found"]
    return {
        "verdict": None if found is None else found.to_dict(),
        "lines": [] if found is None else found.lines,
        "found": mean_and_sd(tops) if tops else None,
        "search_by_training": json.loads((RESULTS / "cifar10_search.json").read_text())[
            "test_top1"
        ]["found"],
    }


def verdict_of(count: int, done: Mapping[Arm, dict[str, Any]]) -> Verdict | None:
    """Return the verdict on the arms that have ended; None if they are too few."""
    rows = [[done.get((f"judge-{n:02d}", seed)) for seed in range(SEEDS)] for n in range(count)]
    supernet = done.get(("supernet", 0))
    full = [n for n, each in enumerate(rows) if all(each)]
    if supernet is None or len(full) < 4:
        return None
    reached = np.array([[row["test_top1"] for row in rows[n] if row] for n in full])
    costs = [
        [row[name] for n in full for row in rows[n][:1] if row] for name in ("flops", "params")
    ]
    predicted = {
        "supernet": (np.array(supernet["scores"])[full], supernet["spent"]),
        "FLOPs": (np.array(costs[0], float), 0.0),
        "params": (np.array(costs[1], float), 0.0),
    }
    shorts = [done.get((f"short-{n:02d}", SHORT_SEED)) for n in full]
    if all(shorts):
        values = np.array([row["minival_top1"] for row in shorts if row])
        seconds = sum(row["seconds"] for row in shorts if row)
        predicted["short training"] = (values, seconds)
    return verdict(reached, predicted, short=supernet["short"])


def draw(path: Path, count: int, result: dict[str, Any]) -> None:
    """Draw the judge's accuracies against each predictor."""
    rows = {(row["arm"], row["seed"]): row for row in result["arms"]}
    names = [f"judge-{n:02d}" for n in range(count)]
    known = [n for n, name in enumerate(names) if all((name, s) in rows for s in range(SEEDS))]
    if not known:
        return
    reached = [np.mean([rows[names[n], s]["test_top1"] for s in range(SEEDS)]) for n in known]
    columns = {
        "FLOPs": ([rows[names[n], 0]["flops"] / 1e6 for n in known], "FLOPs, in millions"),
        "params": ([rows[names[n], 0]["params"] / 1e3 for n in known], "params, in thousands"),
    }
    if ("supernet", 0) in rows:
        scores = rows["supernet", 0]["scores"]
        columns["supernet"] = ([scores[n] for n in known], "minival accuracy, shared weights (%)")
    figure = new_figure(4 * len(columns), 3.6)
    for place, (name, (values, label)) in enumerate(columns.items(), 1):
        axes = figure.add_subplot(1, len(columns), place)
        axes.plot(values, reached, "o", ms=4)
        tau = result["verdict"]["rankings"][name]["tau"] if result["verdict"] else None
        axes.set(
            xlabel=label,
            ylabel="test accuracy, trained alone (%)" if place == 1 else "",
            title="" if tau is None else f"{name}: tau {tau:.2f}",
        )
        axes.grid(alpha=0.3)
    save_png(figure, path)


def arms_of(count: int) -> dict[str, list[Arm]]:
    """Return the arms of each part."""
    numbers = range(count)
    return {
        "judge": [(f"judge-{n:02d}", seed) for seed in range(SEEDS) for n in numbers],
        "supernet": [("supernet", 0)],
        "short": [(f"short-{n:02d}", SHORT_SEED) for n in numbers],
        "found": [("found", seed) for seed in range(FOUND_SEEDS)],
    }


def main() -> None:
    """Run the missing arms of the requested parts and draw the figure."""
    parser = arguments(__doc__, name=NAME, seeds=range(SEEDS))
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--part", choices=PARTS, nargs="+", default=PARTS, help="parts to run (default: all)"
    )
    parser.add_argument("--device", default="cpu", help="device of the trainings (default cpu)")
    parser.add_argument("--supernet-epochs", type=int, default=SUPERNET_EPOCHS)
    parser.add_argument("--supernet-labels", type=float, default=0.0)
    parser.add_argument("--budget", type=int, default=BUDGET, help="networks of the search")
    parser.add_argument(
        "--fidelity", default=FIDELITY, help=f"fidelity of the finalists (default {FIDELITY})"
    )
    parser.add_argument(
        "--networks", type=int, default=COUNT, help=f"networks of the judge (default {COUNT})"
    )
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if "search" in args.part:
        search(args)
    settings = {
        "target_flops": COMPACT_FLOPS,
        "count": args.networks,
        "recipe": ", ".join(("proxy", *FINAL)),
    }
    parts = arms_of(args.networks)
    every = [arm for arms in parts.values() for arm in arms]
    place, many = args.work.resolve(), args.networks
    task = Task(args.data, place, args.device, many, args.supernet_epochs, args.supernet_labels)
    job = functools.partial(run, task)
    summarised = functools.partial(summary, args.networks)
    result: dict[str, Any] = {}
    for part, arms in parts.items():
        if part in args.part:
            print_err(f"part {part}")
            result = run_all(args, every, job, settings, summarised, only=arms)
    if not result:  # the search alone
        return
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, args.networks, result))
    print_out(*result.get("lines", []))
