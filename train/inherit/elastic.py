"""Training of a network together with its sub-networks, which use the weights they inherit.

The sandwich rule with in-place distillation (Yu & Huang 2019, Universally Slimmable Networks; Yu et
al. 2020, BigNAS): in each step the largest network learns from the labels; the smallest network and
some random ones learn from the outputs of the largest. Their gradients add up in the weights that
they share.
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
    """The sub-networks that are trained with a network.

    importance  importance of the network's parts at the start of the training; it decides which
                channels and layers each sub-network has.
    sampled     number of random sub-networks in each step, in addition to the smallest.
    """

    importance: Importance
    sampled: int

    def children(self, parent: Architecture, seed: int) -> Iterator[Architecture]:
        """Yield the sub-networks of a step: the smallest, and random ones."""
        space = parent_space(parent)
        yield space.decode((space.option_counts - 1).astype(np.int8))
        for genotype in space.sample(self.sampled, np.random.default_rng(seed)):
            yield space.decode(genotype)

    def losses(
        self, network: Network, images: Tensor, logits: Tensor, *, seed: int, precision: torch.dtype
    ) -> Iterator[Tensor]:
        """Yield the loss of each sub-network of a step; gradients flow into the network.

        images  input of the network.
        logits  float32 [n, classes], its output for these images.

        Batch norms use the statistics of the batch; those of the network are not changed.
        """
        wanted = logits.detach().softmax(1)
        own: dict[str, Tensor] = dict(network.named_parameters())
        own |= {name: value.clone() for name, value in network.named_buffers()}
        parent = network.architecture
        for child in self.children(parent, seed):
            weights = inherit(own, parent, child, self.importance)
            with torch.device("meta"):  # only its structure is used
                module = build(child).train()
            with autocast(images.device, precision):
                inputs = resized(images, child.resolution)
                found = torch.func.functional_call(module, weights, inputs)
            yield F.cross_entropy(found.float(), wanted)


def elastic_of(network: Network, batches: Sequence[Batch], *, sampled: int) -> Elastic:
    """Return the sub-networks of a network at the start of its training.

    batches  training images on which the importance of pretrained weights is measured; empty for
             random weights, which are equally important.
    """
    if batches:
        return Elastic(
            Importance(by_taylor(network, batches), layers_by_loss(network, batches)), sampled
        )
    return Elastic(Importance(by_order(network), layers_from_the_end(network)), sampled)
