"""A trained network from which sub-networks inherit their weights."""

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

BATCHES, BATCH = 4, 64  # number and size of the batches on which importance is measured


@dataclass(frozen=True)
class Inheritance:
    """Trained weights and the importance of their parts, from which sub-networks are made.

    tensors     state dict of the parent.
    parent      architecture of the parent.
    importance  importance of its channels and layers.
    """

    tensors: Mapping[str, Tensor]
    parent: Architecture
    importance: Importance

    def network(
        self, child: Architecture, *, dropout: float = 0.0, drop_path: float = 0.0
    ) -> Network:
        """Return the child with its inherited weights, in evaluation mode.

        Raises ValueError if it is not a sub-network of the parent.
        """
        network = build(child, dropout=dropout, drop_path=drop_path)
        weights = inherit(self.tensors, self.parent, child, self.importance)
        network.load_state_dict(weights)
        return network.eval()


def inheritance(
    network: Network, batches: Sequence[Batch], importance: Importance | None = None
) -> Inheritance:
    """Return the weights that sub-networks inherit from a trained network, with their importance.

    batches     prepared training images on which importance is measured.
    importance  the importance that was used in training with sub-networks; None: measure it.
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
    """Return at most `count` batches, drawn without replacement; the last may be smaller."""
    order = np.random.default_rng(seed).permutation(len(split))[: count * batch]
    parts = [order[first : first + batch] for first in range(0, len(order), batch)]
    steps = [Step(part, slice(None), seed + number) for number, part in enumerate(parts)]
    found = split.batches(steps, preparation, device=device, workers=0)
    return [(images.clone(), targets.clone()) for images, targets in found]
