"""How a network should grow, by trainings that are long enough for deep networks to converge.

On CPUs the candidates of a grid were trained for six short epochs, a disadvantage for depth: deeper
networks learn more slowly at first. Here EfficientNet-B0, narrowed to a network for 32 px, and the
ways to double its cost are trained as long as the time allows; a pilot measures the time of an
epoch while several trainings share the GPU. Candidates are scored on held-out images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.lib.arms import Arm, each_seed, in_processes
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import TINY, learnable
from scaling.compound import Rules
from scaling.grid.choice import chosen, fitted_surface
from scaling.grid.config import FINE, NARROW, GridConfig
from scaling.grid.growth import Candidate, ProxySize, candidates, proxy_base, spread
from scaling.training_result import Result
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from train.data import Data, load
from train.data.in_memory import MemorySplit
from train.execution import Execution
from train.loop import train
from train.recipe import change, preset
from vbs.folder import write_json
from vbs.processes import available_cpus
from vbs.text import counted

BASE, FLOPS = "efficientnet_b0", 8e6
COMPOUND = 8  # candidates in addition to the controls
LONG, LONGEST = 30, 60  # epochs that should be enough, and the most epochs
MOST_SEEDS, AT_ONCE = 5, 6
MARGIN = 0.8  # share of the remaining time for which trainings are planned
ENDING = 10.0  # seconds before the end at which waiting for outcomes stops
SPLITS = ("train", "minival")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Epochs of each candidate, number of seeds, and trainings at once."""

    epochs: int
    seeds: int
    at_once: int


def check(here: Conditions, keep: Keep) -> Finding:
    """Return the accuracy of each candidate, and the optimum of a surface fitted to them."""
    folder = Path(here.folder)
    base, found = grid_candidates(here)
    _keep_images(here, folder)
    networks = {each.name: each.architecture for each in found}
    write_json(folder / "networks.json", {name: net.to_dict() for name, net in networks.items()})
    at_once = here.pick(max(1, min(AT_ONCE, available_cpus() // 2)), 2)
    plan = _planned(here, folder, list(networks), at_once)
    result = finding("")
    outcomes: dict[Arm, dict[str, Any]] = {}
    arms = each_seed(list(networks), range(plan.seeds))
    with contextlib.closing(_trained(here, folder, arms, plan)) as ends:
        for arm in ends:
            outcomes[arm] = json.loads(_outcome(folder, arm).read_text())
            result = grid_finding(base, found, plan, outcomes)
            keep(result)
            if here.left < ENDING:
                break
    return result


def grid_candidates(here: Conditions) -> tuple[Architecture, list[Candidate]]:
    """Return the base, and ways to double its FLOPs including the three controls."""
    if here.dry:
        found = candidates(TINY, step=0.25, tolerance=0.2, rules=Rules(round_to=2))
        return TINY, spread(found, 1)[:2]
    size = ProxySize(classes=10, resolution=32, small_images=True, flops=FLOPS)
    base = proxy_base(zoo(BASE), size)
    usual = statistics.median(stage.channels for stage in base.stages)
    rules = Rules(round_to=8 if usual >= NARROW else FINE)
    return base, spread(candidates(base, rules=rules), COMPOUND)


def _keep_images(here: Conditions, folder: Path) -> None:
    """Decode the images once for all trainings; ValueError if they are not in memory."""
    data = learnable(64, 32, side=TINY.resolution)
    if here.data is not None:
        data = load(here.data, minival=0.1, test=False)
    for name in SPLITS:
        split = getattr(data, name)
        if not isinstance(split, MemorySplit):
            raise ValueError(
                f"data: {here.data} does not fit in memory; use images of one size, e.g. CIFAR-10"
            )
        np.save(folder / f"{name}-images.npy", split.pixels.images.numpy()[split.rows])
        np.save(folder / f"{name}-targets.npy", split.targets.numpy())


@functools.lru_cache(maxsize=1)  # once in a process
def _images(folder: Path) -> Data:
    def array(name: str) -> torch.Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy", allow_pickle=False))

    splits = [MemorySplit(array(f"{name}-images"), array(f"{name}-targets")) for name in SPLITS]
    names = tuple(map(str, range(int(splits[0].targets.max()) + 1)))
    return Data("images", names, splits[0], splits[1], None, {"source": "images"}, ())


def _planned(here: Conditions, folder: Path, names: Sequence[str], at_once: int) -> Plan:
    """Return what fits into the time, measured by one epoch of concurrent candidates."""
    if here.dry:
        return Plan(1, 1, at_once)
    pilot = Plan(1, 1, at_once)
    arms = [(name, -1) for name in list(names)[-at_once:]]
    for _ in _trained(here, folder, arms, pilot):
        pass
    each = max(json.loads(_outcome(folder, arm).read_text())["seconds"] for arm in arms)
    turns = -(-len(names) // at_once)
    epochs = int(MARGIN * here.left / (turns * each))
    seeds = max(1, min(MOST_SEEDS, epochs // LONG))
    return Plan(max(1, min(LONGEST, epochs // seeds)), seeds, at_once)


def _trained(here: Conditions, folder: Path, arms: Sequence[Arm], plan: Plan) -> Any:
    """Train; yield the arms as they end, with their outcomes in files."""
    run = functools.partial(training, here, folder, plan.epochs)
    return in_processes(run, arms, plan.at_once)


def training(here: Conditions, folder: Path, epochs: int, arm: Arm) -> None:
    """Train a candidate; its outcome is written to a file."""
    name, seed = arm
    network = Architecture.from_dict(json.loads((folder / "networks.json").read_text())[name])
    data = _images(folder)
    size = here.pick("batch=256", "batch=16")
    changes = [f"epochs={epochs}", f"warmup_epochs={epochs / 8:g}", f"seed={max(0, seed)}", size]
    began = time.perf_counter()
    result = train(
        dataclasses.replace(network, classes=len(data.classes)),
        data,
        change(preset("proxy"), changes),
        execution=Execution(device=here.device),
    )
    if result.failed:
        raise ValueError(result.failed)
    last = result.history[-1]
    outcome = {
        "top1": last["val_top1"],
        "train_loss": last["train_loss"],
        "images": len(data.minival),
    }
    write_json(_outcome(folder, arm), outcome | {"seconds": time.perf_counter() - began})


def _outcome(folder: Path, arm: Arm) -> Path:
    digest = "".join(each if each.isalnum() else "-" for each in arm[0])
    return folder / f"outcome-{digest}-{arm[1]}.json"


def grid_finding(
    base: Architecture, found: Sequence[Candidate], plan: Plan, outcomes: dict[Arm, dict[str, Any]]
) -> Finding:
    """Return the results so far: means, the best, and the surface if there are enough points."""
    known = {}
    for each in found:
        own = {seed: row for (name, seed), row in outcomes.items() if name == each.name}
        if own:
            accuracies = {seed: row["top1"] for seed, row in own.items()}
            rows = list(own.values())
            seconds = float(np.mean([row["seconds"] for row in rows]))
            known[each.name] = Result(accuracies, seconds, {}, rows[0]["images"])
    config = GridConfig(base=BASE, prior_weight=0.0)
    outcome = chosen(config, found, known, fitted_surface(config, found, known))
    best = outcome.get("best_candidate")
    alone = [
        f"{each.name} {known[each.name].mean:.1f}"
        for each in found
        if each.is_control and each.name in known
    ]
    shown = [f"best {best['name']} {best['accuracy']:.1f}%"] if best else []
    length = f"{counted(plan.epochs, 'epoch')}, {counted(plan.seeds, 'seed')}"
    return finding(
        f"{', '.join([*shown, *alone])} ({length})",
        enough=True,
        plan=vars(plan),
        long_enough=plan.epochs >= LONG,
        base={"flops": cost(base).flops, "architecture": base.to_dict()},
        outcome=outcome,
        candidates=[
            {
                "name": each.name,
                "growth": each.growth,
                "factors": list(each.factors),
                "train_loss": _losses(each.name, outcomes),
                **known[each.name].to_json(),
            }
            for each in found
            if each.name in known
        ],
    )


def _losses(name: str, outcomes: dict[Arm, dict[str, Any]]) -> dict[str, float]:
    """Return the loss of the last epoch on training images by seed, which depth lowers slowly."""
    return {str(arm[1]): row["train_loss"] for arm, row in outcomes.items() if arm[0] == name}
