"""The best smaller network inside pretrained weights, compared with other ways to shrink a network.

What: `nas.search --parent package:efficientnet_lite0` on sign_digits at 96 px (or --case cifar10:
2,000 images of CIFAR-10 at 64 px, with the same defaults), for 50, 25 and 10% of the parent's
FLOPs, timed. Then, at equal FLOPs and with the same fine-tuning with three seeds: the network
found, the parent at a lower resolution, the parent shrunk uniformly, the found architecture from
random weights, the parent pruned by Torch-Pruning (global, L1 and Taylor) and by FastNAS of
NVIDIA's Model-Optimizer, and, at 25% only, the best network of a search by training from random
weights in a third of the time of the whole search.
Time: 90 minutes on 2 CPU cores for the search, half an hour for the search from random weights, and
about 4 hours for the rest, or 5 minutes on a GPU (--device cuda --processes 15); resumable. Needs
torch-pruning, nvidia-modelopt and torchprofile below 0.1. Command:

    python -m experiments.pretrained_search --data ../shared/data/sign_digits.zip
    python -m experiments.pretrained_search --case cifar10 --data ../shared/data/cifar10

Writes experiments/results/pretrained_search.{json,png} (pretrained_search_cifar10); "partial" until
the last arm has ended.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.pretrained_search")

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.lib.arms import Arm, arguments, each_seed, mean_and_sd, run_all
from experiments.lib.common import device_name
from experiments.lib.foreign import OutOfReach, Pruned, fastnas, fine_tuned, torch_pruning
from experiments.lib.parents import SOURCE, Case, add_case, chosen_case, parent_architecture
from nas.evaluators.inherited import preparation_of, views_of
from nas.parents.references import SMALLER, UNIFORM
from nas.search import SearchConfig, run_search
from search_spaces import loading
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.network import Network
from train.data import Data, load
from train.distill import teacher_of
from train.distributed import pick_device
from train.execution import Execution
from train.inherit.importance import Batch
from train.inherit.inheritance import inheritance, some_batches
from train.loop import train
from train.parents import Parent, load_parent
from train.recipe import Recipe, change, preset
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json
from vbs.json_text import parse_json

ENDED = ("finished", "out of time")  # states of a search that is not resumed
NETWORKS = "networks.json"  # written by the search, read by the arms
SCRATCH = "search from random weights"
SCRATCH_SHARE = 0.25  # each share takes half an hour
SCRATCH_EPOCHS = 10
SHARES = (0.5, 0.25, 0.1)
KINDS = (
    "found",
    SMALLER,
    UNIFORM,
    "found, random weights",
    "Torch-Pruning L1",
    "Torch-Pruning Taylor",
    "FastNAS",
)
NAMES = [
    *(f"{kind} {share:.0%}" for share in SHARES for kind in KINDS),
    f"{SCRATCH} {SCRATCH_SHARE:.0%}",
]


def search(data: str, place: Path, case: Case) -> dict[str, Any]:
    """Start or resume the search; return its record."""
    flops = cost(parent_architecture(10, case)).flops
    config = SearchConfig(
        parent=SOURCE,
        data=data,
        resolution=case.resolution,
        targets=",".join(str(int(share * flops)) for share in SHARES),
        changes=case.changes,
        cache="off",  # so that its time is that of a first search
        device="cpu",
    )
    return _finish(config, place)


def _finish(config: SearchConfig, place: Path) -> dict[str, Any]:
    """Run a search, or resume a started one; return its record."""
    if not (place / "search.json").is_file():
        run_search(config, out=place)
    elif parse_json((place / "search.json").read_bytes())["status"] not in ENDED:
        run_search(out=place, resume=True)
    record = parse_json((place / "search.json").read_bytes())
    if record["status"] not in ENDED:
        raise KeyboardInterrupt
    return record


def search_from_random_weights(
    data: str, place: Path, case: Case, seconds: float
) -> tuple[Architecture, float]:
    """Search by training from random weights, or finish a started search.

    seconds  time of the search on this machine.

    Returns the best network and the seconds of one epoch of its training.
    """
    flops = cost(parent_architecture(10, case)).flops
    config = SearchConfig(
        evaluator="proxy",
        space="compact",
        data=data,
        fidelity=f"epochs={SCRATCH_EPOCHS},share=1",
        resolution=case.resolution,
        target_flops=int(SCRATCH_SHARE * flops),
        reward="feasible",  # accuracy within the limit, as in the search from pretrained weights
        budget=1000,  # more than fit into the time
        max_time=seconds,
        changes=case.changes,
        cache="off",
        device="cpu",
    )
    _finish(config, place)
    network = loading.load(str(place / "best.json"))
    rows = pd.read_parquet(place / "history.parquet").query("fidelity == 1")
    trained = float(rows.loc[rows["key"] == network.key, "seconds"].median())
    return network, trained / SCRATCH_EPOCHS


def write_networks(record: Mapping[str, Any], place: Path) -> None:
    """Write the fine-tuned network and its results by seed for each kind and share."""
    found: dict[str, dict[str, Any]] = {}
    for share, rows in zip(SHARES, record["outcome"]["targets"].values(), strict=True):
        for row in rows:
            name = f"{row['kind']} {share:.0%}"
            if name in found:
                continue  # only the best of the found networks
            weights = place / row["weights"]
            trained = weights.parents[1].glob(f"{row['key']}-*/result.json")
            results = [parse_json(path.read_bytes()) for path in trained]
            found[name] = {
                "architecture": parse_json(load_parent(str(weights)).architecture.to_json()),
                "results": {str(each["seed"]): each for each in results},
            }
    write_json(place / NETWORKS, found)


def add_scratch(network: Architecture, epoch_seconds: float, case: Case, place: Path) -> None:
    """Add the network of `search_from_random_weights` and its recipe to the networks' file."""
    known = parse_json((place / NETWORKS).read_bytes())
    tuned = known[f"found {SCRATCH_SHARE:.0%}"]["results"].values()
    epochs = round(float(np.mean([each["seconds"] for each in tuned])) / epoch_seconds)
    recipe = change(preset("proxy"), [*case.changes, f"epochs={max(1, epochs)}"])
    known[f"{SCRATCH} {SCRATCH_SHARE:.0%}"] = {
        "architecture": parse_json(network.to_json()),
        "results": {},
        "recipe": recipe.to_dict(),
    }
    write_json(place / NETWORKS, known)


def networks_of(place: Path) -> dict[str, dict[str, Any]]:
    """Read the file of `write_networks`, with architectures, and with seeds as integers."""
    return {
        name: {
            **each,
            "architecture": Architecture.from_dict(each["architecture"]),
            "results": {int(seed): result for seed, result in each["results"].items()},
        }
        for name, each in parse_json((place / NETWORKS).read_bytes()).items()
    }


def run(
    source: str, place: Path, device: str, name: str, seed: int, folder: Path
) -> dict[str, Any]:
    """Fine-tune one network with one seed, unless the search has done so."""
    known = networks_of(place)
    kind, _, share = name.rpartition(" ")
    common = {"name": name, "seed": seed}
    if kind in KINDS[:3] and (found := _by_search(known.get(name), seed)) is not None:
        return {**common, **found}
    recipe = recipe_of(known, share)
    if kind == SCRATCH:
        recipe = Recipe.from_dict(known[name]["recipe"])
    setup = _Setup.of(source, place, replace(recipe, seed=seed), device)
    common["device"] = device_name(device)
    if kind in KINDS[4:]:
        return {**common, **setup.pruned(kind, share, folder)}
    origin = name if kind in KINDS[:3] or kind == SCRATCH else f"found {share}"
    network = known[origin]["architecture"]
    initial = setup.inherited(network) if kind in KINDS[:3] else None
    execution = Execution(checkpoint=folder, device=device)
    outcome = train(network, setup.data, setup.recipe, execution=execution, initial=initial)
    assert outcome.test is not None, outcome.failed
    return {
        **common,
        **_costs(network),
        "test_top1": round(outcome.test.top1, 3),
        "seconds": round(outcome.seconds, 1),
    }


@dataclass(frozen=True)
class _Setup:
    """Settings of an arm's training."""

    data: Data
    recipe: Recipe
    teacher: Parent
    where: torch.device

    @classmethod
    def of(cls, source: str, place: Path, recipe: Recipe, device: str) -> _Setup:
        teacher = load_parent(str(place / "teacher" / "run" / "best.safetensors"))
        return cls(load(source, minival=recipe.minival), recipe, teacher, pick_device(device))

    @property
    def batches(self) -> list[Batch]:
        """Return the training images on which importance is measured."""
        preparation = preparation_of(self.recipe, self.teacher.architecture.resolution)
        return some_batches(self.data.train, preparation, device=self.where)

    def inherited(self, network: Architecture) -> Network:
        """Return the network with the weights that it inherits from the teacher."""
        whole = self.teacher.network().to(self.where)
        return inheritance(whole, self.batches, self.teacher.importance).network(network)

    def pruned(self, kind: str, share: str, folder: Path) -> dict[str, Any]:
        """Prune the teacher by another tool and fine-tune it; return the outcome."""
        side, recipe = self.teacher.architecture.resolution, self.recipe
        flops = float(share.rstrip("%")) / 100 * cost(self.teacher.architecture).flops
        try:
            found = self._pruned(kind, flops, folder.parent / "fastnas.pth")
        except OutOfReach as error:
            return {"test_top1": None, "flops": None, "seconds": 0.0, "reason": str(error)}
        taught = teacher_of(self.teacher, recipe, self.where) if recipe.teacher else None
        outcome = fine_tuned(found.network, self.data, recipe, taught, side=side)
        return {"flops": found.flops, "params": found.params, **outcome}

    def _pruned(self, kind: str, flops: float, checkpoint: Path) -> Pruned:
        side, whole = self.teacher.architecture.resolution, self.teacher.network().to(self.where)
        if kind == "FastNAS":
            views = views_of(self.data, self.recipe, side, device=self.where)
            return fastnas(whole, views, flops=flops, checkpoint=checkpoint)
        method = kind.rpartition(" ")[2].lower()
        return torch_pruning(whole, self.batches, method=method, flops=flops)


def _by_search(network: Mapping[str, Any] | None, seed: int) -> dict[str, Any] | None:
    """Return the outcome of a network of the search; None if it was not trained with that seed."""
    if network is None:  # no network of this kind meets the target
        return {"test_top1": None, "flops": None, "seconds": 0.0}
    result = network["results"].get(seed)
    if result is None:
        return None
    return {
        **_costs(network["architecture"]),
        "test_top1": result["test_top1"],
        "seconds": round(result["seconds"], 1),
        "device": "that of the search",
    }


def recipe_of(known: Mapping[str, Mapping[str, Any]], share: str) -> Recipe:
    """Return the recipe of the search's finalists of a share, with this machine's teacher file."""
    results = known[f"found {share}"]["results"]
    return Recipe.from_dict(next(iter(results.values()))["recipe"])


def _costs(network: Architecture) -> dict[str, int]:
    spent = cost(network)
    return {"flops": spent.flops, "params": spent.params}


def summary(done: Mapping[Arm, dict[str, Any]]) -> dict[str, Any]:
    """Return the mean test accuracy of each kind at each share."""
    found: dict[str, Any] = {}
    for name in NAMES:
        rows = [row for (arm, _), row in done.items() if arm == name]
        rows = [row for row in rows if row["test_top1"] is not None]
        if rows:
            values = [row["test_top1"] for row in rows]
            found[name] = {**mean_and_sd(values), "flops": rows[0]["flops"]}
    return {"test_top1": found}


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw test accuracy against FLOPs, by kind."""
    figure = new_figure(8, 5, dpi=120)
    axes = figure.add_subplot()
    for kind in (*KINDS, SCRATCH):
        rows = [row for name, row in result["test_top1"].items() if name.rpartition(" ")[0] == kind]
        if not rows:
            continue
        axes.errorbar(
            [row["flops"] / 1e6 for row in rows],
            [row["mean"] for row in rows],
            yerr=[(row["sd"] or 0.0) / row["seeds"] ** 0.5 for row in rows],
            fmt="o-",
            ms=4,
            capsize=2,
            label=kind,
        )
    axes.axhline(result["search"]["teacher"], color="0.5", ls="--", lw=1, label="parent")
    partial = " (partial)" if result["partial"] else ""
    axes.set(
        title=f"Inside EfficientNet-Lite0, on {result['settings']['data']}{partial}",
        xlabel="FLOPs: multiply-adds of one image, in millions",
        ylabel="test accuracy after fine-tuning (%)",
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_png(figure, path)


def effort(known: Mapping[str, Any], arm: Arm) -> int:
    """Return the order of an arm: 0 if the search has its result; FastNAS takes longest."""
    name, seed = arm
    return 2 if "FastNAS" in name else seed not in known.get(name, {"results": ()})["results"]


def settings_of(case: Case, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the arms; another result file with equal settings can be resumed.

    They contain the networks, because arms of another search have other ones.
    """
    return {
        "parent": SOURCE,
        "resolution": case.resolution,
        "changes": list(case.changes),
        "shares": list(SHARES),
        "networks": {
            name: each["architecture"].key
            for name, each in known.items()
            if not name.startswith(SCRATCH)  # which is found later
        },
        "recipes": {f"{share:.0%}": recipe_of(known, f"{share:.0%}").to_dict() for share in SHARES},
    }


def main() -> None:
    """Search, run the missing arms and draw the figure."""
    parser = arguments(__doc__, name="pretrained_search", seeds=(0, 1, 2))
    add_case(parser)
    parser.add_argument("--device", default="cpu", help="device of the arms: cpu (default) or cuda")
    args = parser.parse_args()
    case, place = chosen_case(args), args.work / "search"
    record = search(args.data, place, case)
    if not (place / NETWORKS).is_file():
        write_networks(record, place)
    known = networks_of(place)
    settings = settings_of(case, known)
    teacher = record["outcome"]["teacher"]["test_top1"][0]
    minutes = round(record["outcome"]["seconds"] / 60, 1)

    def with_search(done: Mapping[Arm, dict[str, Any]]) -> dict[str, Any]:
        return {"search": {"minutes": minutes, "teacher": teacher}, **summary(done)}

    arms = sorted(each_seed(NAMES, args.seeds), key=functools.partial(effort, known))
    one = functools.partial(run, args.data, place.resolve(), args.device)
    if f"{SCRATCH} {SCRATCH_SHARE:.0%}" not in known:
        inside = [arm for arm in arms if not arm[0].startswith(SCRATCH)]
        run_all(args, arms, one, settings, with_search, only=inside)
        seconds = record["outcome"]["seconds"] / len(SHARES)
        best = search_from_random_weights(args.data, args.work / "scratch", case, seconds)
        add_scratch(*best, case, place)
    result = run_all(args, arms, one, settings, with_search)
    print_out(f"search: {minutes} minutes; teacher {teacher:.2f}%")
    for name, row in result["test_top1"].items():
        print_out(f"{name}: {row}")
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
