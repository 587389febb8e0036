"""Train a network so that its sub-networks work with the weights that they inherit.

The sandwich rule with distillation in place (Yu & Huang 2019, Universally Slimmable Networks; Yu et
al. 2020, BigNAS): in each step the largest network learns from the labels, and the smallest one and
some random ones from its outputs. Their gradients add up in the weights that they share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.architecture import Architecture
from search_spaces.network import Network, build
from search_spaces.parent import parent_space
from train.distill import resized
from train.evaluate import autocast
from train.inherit.importance import (
    Batch,
    Importance,
    by_order,
    by_taylor,
    layers_by_loss,
    layers_from_the_end,
)
from train.inherit.weights import inherit


@dataclass(frozen=True)
class Elastic:
    """Which sub-networks learn beside a network.

    importance  of the network when the training began: which of its channels and layers each
                sub-network has.
    sampled     random ones in each step, beside the smallest.
    """

    importance: Importance
    sampled: int

    def children(self, parent: Architecture, seed: int) -> Iterator[Architecture]:
        """The sub-networks of a step: the smallest, and random ones."""
        space = parent_space(parent)
        yield space.decode((space.option_counts - 1).astype(np.int8))
        for genotype in space.sample(self.sampled, np.random.default_rng(seed)):
            yield space.decode(genotype)

    def losses(
        self, network: Network, images: Tensor, logits: Tensor, *, seed: int, precision: torch.dtype
    ) -> Iterator[Tensor]:
        """The loss of each sub-network of a step, whose gradients flow into the network.

        images  as the network got them; logits float32 [n, classes], what it made of them.

        Batch norms use the statistics of the batch; the network's own are not changed.
        """
        wanted = logits.detach().softmax(1)
        own: dict[str, Tensor] = dict(network.named_parameters())
        own |= {name: value.clone() for name, value in network.named_buffers()}
        parent = network.architecture
        for child in self.children(parent, seed):
            weights = inherit(own, parent, child, self.importance)
            with torch.device("meta"):  # only what it computes is used
                module = build(child).train()
            with autocast(images.device, precision):
                inputs = resized(images, child.resolution)
                found = torch.func.functional_call(module, weights, inputs)
            yield F.cross_entropy(found.float(), wanted)


def elastic_of(network: Network, batches: Sequence[Batch], *, sampled: int) -> Elastic:
    """The sub-networks of a network that begins to be trained.

    batches  of training images, by which the importance of pretrained weights is measured; none
             where the network has random weights, of which none matters more.
    """
    if batches:
        return Elastic(
            Importance(by_taylor(network, batches), layers_by_loss(network, batches)), sampled
        )
    return Elastic(Importance(by_order(network), layers_from_the_end(network)), sampled)
