"""A trained network whose sub-networks inherit from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import Network, build
from train.data import Step
from train.data.augment import Preparation
from train.inherit.importance import Batch, Importance, by_taylor, layers_by_loss
from train.inherit.weights import inherit

if TYPE_CHECKING:
    from train.data import Split

BATCHES, BATCH = 4, 64  # of training images that importance is measured on


@dataclass(frozen=True)
class Inheritance:
    """Trained weights and the importance of their parts, from which sub-networks are made.

    tensors     state dict of the parent.
    parent      its architecture.
    importance  of its channels and layers.
    """

    tensors: Mapping[str, Tensor]
    parent: Architecture
    importance: Importance

    def network(
        self, child: Architecture, *, dropout: float = 0.0, drop_path: float = 0.0
    ) -> Network:
        """The child with its inherited weights, in evaluation mode; ValueError where it is no
        sub-network of the parent."""
        network = build(child, dropout=dropout, drop_path=drop_path)
        weights = inherit(self.tensors, self.parent, child, self.importance)
        network.load_state_dict(weights)
        return network.eval()


def inheritance(
    network: Network, batches: Sequence[Batch], importance: Importance | None = None
) -> Inheritance:
    """What sub-networks inherit from a trained network.

    batches     of training images as the network takes them, by which importance is measured.
    importance  where it is known: sub-networks that were trained had their parts by it.
    """
    if importance is None:
        importance = Importance(by_taylor(network, batches), layers_by_loss(network, batches))
    tensors = {name: value.detach() for name, value in network.state_dict().items()}
    return Inheritance(tensors, network.architecture, importance)


def some_batches(
    split: Split,
    preparation: Preparation,
    *,
    device: torch.device,
    count: int = BATCHES,
    batch: int = BATCH,
    seed: int = 0,
) -> list[Batch]:
    """Batches of images drawn without replacement, at most `count`; the last may be smaller."""
    order = np.random.default_rng(seed).permutation(len(split))[: count * batch]
    parts = [order[first : first + batch] for first in range(0, len(order), batch)]
    steps = [Step(part, slice(None), seed + number) for number, part in enumerate(parts)]
    found = split.batches(steps, preparation, device=device, workers=0)
    return [(images.clone(), targets.clone()) for images, targets in found]
