"""Choice of the networks that learn in a step of a supernet's training, and their losses.

The sandwich rule with in-place distillation (Yu & Huang 2019; Yu et al. 2020, BigNAS): the largest
network learns from the labels, the smallest and some random ones learn from its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from train.distill import resized
from train.evaluate import autocast
from train.recipe import Recipe
from train.supernet.weights import skeleton, taken

END = 0.02  # share of the networks, by FLOPs, that count as the largest (or the smallest)


@dataclass(frozen=True)
class Sandwich:
    """The networks that a supernet is trained for.

    genotypes  int8 [n, decisions] of networks of the space, by ascending FLOPs, within the limits
               of the search. The largest network of a step is drawn from the share `END` with the
               most FLOPs, and the smallest from the share with the fewest, because a space in which
               ops are decisions has no single largest network.
    sampled    number of random networks in each step.
    labels     weight of the labels, from 0 to 1, in the losses of all networks but the largest. The
               outputs of the largest network have the remaining weight.
    """

    space: SearchSpace
    genotypes: np.ndarray
    sampled: int = 2
    labels: float = 0.0

    def networks(self, seed: int) -> list[Architecture]:
        """Return the networks of a step: the largest, the smallest, and random ones."""
        rng = np.random.default_rng(seed)
        count = len(self.genotypes)
        end = max(1, round(END * count))
        rows = [count - 1 - int(rng.integers(end)), int(rng.integers(end))]
        rows += [int(row) for row in rng.integers(count, size=self.sampled)]
        return [self.space.decode(self.genotypes[row]) for row in rows]

    def losses(
        self,
        tensors: Mapping[str, Tensor],
        batch: tuple[Tensor, Tensor],
        recipe: Recipe,
        *,
        seed: int,
        precision: torch.dtype,
    ) -> Iterator[Tensor]:
        """Yield the loss of each network of a step; gradients flow into the shared weights.

        tensors  see `train.supernet.weights.Supernet.tensors`.
        batch    images float32 [n, channels, side, side], with the largest resolution, and targets
                 int64 [n].

        Dropout and stochastic depth are those of the recipe for the largest, none for the others.
        Call backward on each loss before the next is computed, so that only one graph is in memory.
        """
        images, targets = batch
        wanted: Tensor | None = None
        for child in self.networks(seed):
            first = wanted is None
            dropout, drop_path = (recipe.dropout, recipe.drop_path) if first else (0.0, 0.0)
            module = skeleton(child, dropout=dropout, drop_path=drop_path).train()
            with autocast(images.device, precision):
                inputs = resized(images, child.resolution)
                logits = torch.func.functional_call(module, taken(tensors, module), inputs)
            logits = logits.float()
            loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
            if wanted is None:
                wanted = logits.detach().softmax(1)
            else:
                distilled = F.cross_entropy(logits, wanted)
                loss = self.labels * loss + (1 - self.labels) * distilled
            yield loss
