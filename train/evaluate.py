"""Evaluation of a network on a split: loss, top-1 and top-5 accuracy, and predictions."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.data import Split, Step, evaluation_steps
from train.data.augment import Preparation
from train.distributed import World
from vbs.failures import is_out_of_memory


class Score(NamedTuple):
    """Loss, and accuracies in percent; top-5 is 100 with fewer than five classes."""

    loss: float
    top1: float
    top5: float


class Predicted(NamedTuple):
    """Predictions on the images of a split.

    probabilities  float32 [n, classes].
    targets        int64 [n] or float32 [n, classes].
    indices        int64 [n], the images that were used: an unreadable image and its target are
                   replaced by another image and its target.
    """

    probabilities: Tensor
    targets: Tensor
    indices: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Settings of an evaluation.

    batch      number of images at a time, in each process.
    loaders    processes that decode streamed images; 0: this process.
    precision  data type of convolutions and matrix products.
    """

    batch: int = 256
    loaders: int = 0
    precision: torch.dtype = torch.float32


DEFAULT = Inference()
PREDICTION = Inference(batch=64)  # smaller, because all outputs are kept


def evaluate(
    network: nn.Module,
    split: Split,
    preparation: Preparation,
    *,
    world: World,
    inference: Inference = DEFAULT,
) -> Score:
    """Return the score on all images of a split, which the processes of the world share.

    If memory runs out, the batch is halved, repeatedly if needed.
    """
    while True:
        try:
            return _score(network, split, preparation, world, inference)
        except (RuntimeError, MemoryError, OSError) as error:
            # processes that share an evaluation cannot change their batches independently
            if not is_out_of_memory(error) or inference.batch == 1 or world.size > 1:
                raise
        inference = replace(inference, batch=inference.batch // 2)


def _score(
    network: nn.Module,
    split: Split,
    preparation: Preparation,
    world: World,
    inference: Inference,
) -> Score:
    steps = [
        Step(step.indices, slice(world.rank, None, world.size), step.seed)
        for step in evaluation_steps(len(split), inference.batch * world.size)
    ]
    sums = torch.zeros(4, dtype=torch.float64, device=world.device)
    with _evaluating(network), autocast(world.device, inference.precision):
        batches = split.batches(steps, preparation, device=world.device, workers=inference.loaders)
        for images, targets in batches:
            if len(images):
                sums += _sums(network(images).float(), targets)
    loss, top1, top5, count = world.total(sums).tolist()  # the only wait for the device
    return Score(loss / count, 100 * top1 / count, 100 * top5 / count)


def predict(
    network: nn.Module,
    split: Split,
    preparation: Preparation,
    *,
    device: torch.device,
    inference: Inference = PREDICTION,
) -> Predicted:
    """Return a network's predictions on all images in order, as tensors on the CPU."""
    found, used = [], []
    steps = evaluation_steps(len(split), inference.batch)
    with _evaluating(network), autocast(device, inference.precision):
        batches = split.prepared(steps, preparation, device=device, workers=inference.loaders)
        for images, chosen in batches:
            found.append(network(images).float().softmax(1).cpu())
            used.append(chosen)
    indices = np.concatenate(used)
    return Predicted(torch.cat(found), split.targets[torch.from_numpy(indices)], indices)


def confusion_counts(probabilities: Tensor, targets: Tensor) -> np.ndarray:
    """Return the confusion matrix int64 [classes, classes]: true classes by predicted classes."""
    classes = probabilities.shape[1]
    pairs = targets * classes + probabilities.argmax(1)
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).numpy()


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Return autocast of convolutions and products to `precision`; no effect for float32."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def _sums(logits: Tensor, targets: Tensor) -> Tensor:
    """Return sums [loss, top-1, top-5, images] over a batch; soft targets count as their argmax."""
    loss = F.cross_entropy(logits, targets, reduction="sum")
    hard = targets if targets.ndim == 1 else targets.argmax(1)
    hits = logits.topk(min(5, logits.shape[1]), 1).indices == hard[:, None]
    count = loss.new_full((), len(logits))
    counts = [loss, hits[:, 0].sum(), hits.sum(), count]
    return torch.stack([value.to(torch.float64) for value in counts])


@contextlib.contextmanager
def _evaluating(network: nn.Module):  # type: ignore[no-untyped-def]
    """Set evaluation mode without gradients; restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
