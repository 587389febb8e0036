"""Networks pruned by Torch-Pruning and by Model-Optimizer, and their fine-tuning.

These networks are not an `Architecture`; they are fine-tuned with the same recipe as ours.
"""

from __future__ import annotations

import fcntl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nas.evaluators.inherited import preparation_of
from nas.evaluators.inherited_scores import Views, accuracy
from search_spaces.network import Network
from train.data import Data, Step
from train.distill import Teacher
from train.distributed import World
from train.evaluate import evaluate
from train.inherit.importance import Batch
from train.norm_momentum import NormStatistics
from train.optimizer import learning_rate, optimizer, set_learning_rate
from train.progressive import phase
from train.recalibrate import average_statistics
from train.recipe import Recipe
from train.steps import augmentation
from vbs.accuracy import near_best

STEP = 0.02  # share of the channels that Torch-Pruning removes in each step


class OutOfReach(ValueError):
    """A tool has no network as small as required."""


@dataclass(frozen=True)
class Pruned:
    """A pruned network, and its cost: multiply-adds at its input side, and params."""

    network: nn.Module
    flops: int
    params: int


def torch_pruning(network: Network, batches: list[Batch], *, method: str, flops: float) -> Pruned:
    """Prune a network globally by Torch-Pruning to at most that number of multiply-adds.

    method  "l1" (magnitude) or "taylor" (by the loss on the batches), of groups of channels.
    """
    import torch_pruning as tp

    side = network.architecture.resolution
    example = torch.zeros(1, 3, side, side, device=batches[0][0].device)
    importance = (
        tp.importance.GroupMagnitudeImportance(p=1)
        if method == "l1"
        else tp.importance.GroupTaylorImportance()
    )
    pruner = tp.pruner.BasePruner(
        network,
        example,
        importance=importance,
        global_pruning=True,
        pruning_ratio=0.95,
        iterative_steps=round(1 / STEP),
        ignored_layers=[network.classifier],
        round_to=8,
    )
    for _ in range(round(1 / STEP)):
        if _flops(network, example) <= flops:
            break
        if method == "taylor":
            network.zero_grad()
            for images, targets in batches:
                F.cross_entropy(network(images), targets).backward()
        pruner.step()
    else:
        raise OutOfReach(f"Torch-Pruning ({method}) does not reach {flops:,.0f} multiply-adds")
    params = sum(each.numel() for each in network.parameters())
    return Pruned(network, _flops(network, example), params)


def fastnas(network: Network, views: Views, *, flops: float, checkpoint: Path) -> Pruned:
    """Prune a network by Model-Optimizer's FastNAS to that number of multiply-adds.

    Its score is our held-out accuracy with batch-norm statistics of the training images.

    checkpoint  file of its measurements, reused for other constraints on the same network;
                processes wait for each other.

    Raises OutOfReach if its smallest network has more multiply-adds.
    """
    import modelopt.torch.prune as mtp

    def score(module: nn.Module) -> float:
        average_statistics(module, [images for images, _ in views.train[:2]])
        return accuracy(module, views.held_out)

    side = network.architecture.resolution
    example = torch.zeros(1, 3, side, side, device=views.train[0][0].device)
    share = flops / _flops(network, example)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first process measures; the others read its results
        try:
            pruned, _ = mtp.prune(
                model=network,
                mode="fastnas",
                constraints={"flops": f"{100 * share:.2f}%"},
                dummy_input=example,
                config={
                    "data_loader": list(views.train),
                    "score_func": score,
                    "checkpoint": str(checkpoint),
                },
            )
        except ValueError as error:
            if "constraints can be satisfied" not in str(error):
                raise
            raise OutOfReach(f"FastNAS does not reach {flops:,.0f} multiply-adds") from None
    params = sum(each.numel() for each in pruned.parameters())
    return Pruned(pruned, _flops(pruned, example), params)


def _flops(network: nn.Module, example: torch.Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(example)
    return counter.get_total_flops() // 2  # it counts multiplications and additions


def fine_tuned(
    network: nn.Module, data: Data, recipe: Recipe, teacher: Teacher | None, *, side: int
) -> dict[str, Any]:
    """Fine-tune a module by a recipe with our data, optimizer, schedule and batch-norm rule.

    Returns its accuracies at the epoch whose weights the loop would choose (`train.state.choose`),
    and the seconds.
    """
    recipe = replace(recipe, resolution=side, eval_resolution=side)
    here = World(0, 1, next(network.parameters()).device)
    torch.manual_seed(recipe.seed)
    made, norms = optimizer(recipe, network), NormStatistics(network, near=True)
    preparation = preparation_of(recipe, side)
    assert data.minival is not None
    assert data.test is not None
    rng, seconds, best = np.random.default_rng(recipe.seed), 0.0, 0.0
    chosen: dict[str, float] = {}
    for epoch in range(recipe.epochs):
        order = data.train.order(rng, recipe.batch)
        first = epoch * len(order)
        steps = [Step(row, slice(None), first + place) for place, row in enumerate(order)]
        how = augmentation(recipe, phase(recipe, epoch))
        network.train()
        stream = data.train.batches(steps, how, device=here.device)
        for step, (images, targets) in enumerate(stream, first):
            started = time.perf_counter()
            set_learning_rate(made, learning_rate(recipe, step, len(order)))
            with norms.batch(step):
                _loss(network, images, targets, recipe, teacher).backward()
            made.step()
            made.zero_grad()
            seconds += time.perf_counter() - started
        minival = evaluate(network, data.minival, preparation, world=here).top1
        best = max(best, minival)
        if near_best(minival, best, len(data.minival)):
            test = evaluate(network, data.test, preparation, world=here).top1
            chosen = {"test_top1": round(test, 3), "minival_top1": round(minival, 3)}
    return {**chosen, "seconds": seconds}


def _loss(
    network: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe, teacher: Teacher | None
) -> Tensor:
    logits = network(images)
    loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
    if teacher is None:
        return loss
    return teacher.loss(logits, teacher.logits(images), loss)
