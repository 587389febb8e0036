"""Scores of networks with inherited weights, which predict the accuracy after fine-tuning.

Each takes seconds. experiments/inherited_scores.py measures how well they rank networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.network import Network
from train.inherit.importance import Batch
from train.optimizer import optimizer
from train.recalibrate import average_statistics
from train.recipe import Recipe

RATE = 0.5  # learning rate of a few steps, in multiples of the recipe's
MOMENTUM = 0.1  # of batch norm; smaller values hardly update the statistics in a few steps
RIDGE = (1e-3, 1e-2, 1e-1, 1.0)  # penalties relative to the mean squared feature


@dataclass(frozen=True)
class Views:
    """Images for scoring a network, at its input side.

    train      batches of training images, prepared as for evaluation.
    augmented  batches of augmented training images, for steps of fine-tuning.
    held_out   batches of held-out images.
    """

    train: Sequence[Batch]
    augmented: Sequence[Batch]
    held_out: Sequence[Batch]


Score = Callable[[Network, Views, Recipe], float]


def by_accuracy(network: Network, views: Views, recipe: Recipe) -> float:
    """Return the held-out accuracy in percent.

    The batch-norm statistics are either inherited or recomputed on training images: those with the
    higher accuracy are used.
    """
    inherited = accuracy(network, views.held_out)
    recalibrate(network, views.train)
    return max(inherited, accuracy(network, views.held_out))


def by_ridge(network: Network, views: Views, recipe: Recipe) -> float:
    """Return the held-out accuracy in percent of a ridge classifier on the network's features.

    Batch norm is recalibrated, and the penalty is chosen by generalised cross-validation.
    """
    recalibrate(network, views.train)
    known, targets = _features(network, views.train)
    new, wanted = _features(network, views.held_out)
    classes = network.architecture.classes
    predicted = ridge_logits(known, F.one_hot(targets, classes).double(), new)
    return 100 * float((predicted.argmax(1) == wanted).double().mean())


def by_steps(network: Network, views: Views, recipe: Recipe) -> float:
    """Return the held-out accuracy in percent after a few steps of fine-tuning.

    There is one step on each augmented batch, with the recipe's optimizer and a learning rate that
    decreases from `RATE` times the recipe's to 0. With a sixth of the rate of `finetune`, these
    steps recover too little accuracy: networks that keep the parent's layers at a low resolution
    are ranked too high.
    """
    network.train()
    for norm in _norms(network):
        norm.momentum = MOMENTUM
    made = optimizer(recipe, network)
    rates = [RATE * group["lr"] for group in made.param_groups]
    for step, (images, targets) in enumerate(views.augmented):
        share = 1 - step / len(views.augmented)
        for group, rate in zip(made.param_groups, rates, strict=True):
            group["lr"] = rate * share
        made.zero_grad()
        F.cross_entropy(network(images).float(), targets).backward()
        made.step()
    recalibrate(network, views.train)
    return accuracy(network, views.held_out)


SCORES: dict[str, Score] = {"accuracy": by_accuracy, "ridge": by_ridge, "steps": by_steps}


@torch.no_grad()
def accuracy(network: nn.Module, batches: Sequence[Batch]) -> float:
    """Return the percentage of correctly classified images; sets evaluation mode."""
    network.eval()
    right = sum(int((network(images).argmax(1) == wanted).sum()) for images, wanted in batches)
    return 100 * right / sum(len(wanted) for _, wanted in batches)


def recalibrate(network: Network, batches: Sequence[Batch]) -> None:
    """Set batch-norm statistics to the mean of those of the batches; sets evaluation mode."""
    average_statistics(network, (images for images, _ in batches))


def ridge_logits(known: Tensor, targets: Tensor, new: Tensor) -> Tensor:
    """Return predictions of ridge regression, float64 [m, classes].

    known    features of the regression, [n, d].
    targets  targets of the regression, [n, classes].
    new      features of the predictions, [m, d].

    Features are centred and scaled. The penalty is the one in `RIDGE` with the smallest error by
    generalised cross-validation (Golub, Heath & Wahba 1979).
    """
    center, scale = known.mean(0), known.std(0).clamp_min(1e-6)
    known, new = (known - center) / scale, (new - center) / scale
    mean = targets.mean(0)
    left, sizes, right = torch.linalg.svd(known, full_matrices=False)
    projected = left.T @ (targets - mean)
    best: tuple[float, Tensor] | None = None
    for penalty in RIDGE:
        shrunk = sizes**2 / (sizes**2 + penalty * sizes.square().mean())
        residual = targets - mean - left @ (shrunk[:, None] * projected)
        free = 1 - float(shrunk.sum() + 1) / len(known)
        error = float(residual.square().mean()) / max(free, 1e-3) ** 2
        if best is None or error < best[0]:
            weights = right.T @ ((shrunk / sizes.clamp_min(1e-12))[:, None] * projected)
            best = error, new @ weights + mean
    assert best is not None
    return best[1]


@torch.no_grad()
def _features(network: Network, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Return the inputs of the classifier, float64 [n, channels], and the targets, int64 [n]."""
    found: list[Tensor] = []
    hook = network.classifier.register_forward_pre_hook(
        lambda module, inputs: found.append(inputs[0].double())
    )
    try:
        for images, _ in batches:
            network(images)
    finally:
        hook.remove()
    return torch.cat(found), torch.cat([targets for _, targets in batches])


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
