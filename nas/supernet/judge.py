"""Judge of a supernet: stand-alone trainings of a few networks, to check the supernet's ranking."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nas.evaluators.proxy import EVALUATION, DataIdentity, Fidelity, used_images
from nas.fidelity.plan import work
from nas.storage.cache import network_key
from search_spaces.space import SearchSpace
from train.recipe import Recipe

SEEDS = 2  # seeds of each network of the judge
SHORT_SEED = 2  # seed of the short trainings, different from those of the judge


class Training(NamedTuple):
    """A training: the row of its network, and its seed."""

    network: int
    seed: int


@dataclass(frozen=True)
class Judge:
    """Stand-alone trainings that a supernet is compared with.

    genotypes  networks of the space, int8 [networks, decisions].
    recipe     recipe, not fitted to a fidelity.
    fidelity   fidelity of the reference trainings.
    images     number of training images.
    held       number of held-out images.
    """

    space: SearchSpace
    data: DataIdentity
    genotypes: np.ndarray
    recipe: Recipe
    fidelity: Fidelity
    images: int
    held: int

    def key(self, network: int) -> str:
        """Return the key of the network in a row."""
        return network_key(self.space, self.genotypes[network])

    def trainings(self) -> list[Training]:
        """Return the reference trainings, all networks with the first seed first."""
        return [
            Training(network, seed)
            for seed in range(SEEDS)
            for network in range(len(self.genotypes))
        ]

    def shorts(self) -> list[Training]:
        """Return the short trainings."""
        return [Training(network, SHORT_SEED) for network in range(len(self.genotypes))]

    def short(self, share: float) -> Fidelity:
        """Return a fidelity with about `share` of the cost of the reference trainings.

        Epochs and images shrink by the same factor, as far as the number of images allows. For a
        share of 1 or more, the result is the reference fidelity.
        """
        whole = self.fidelity
        if share >= 1:
            return whole
        cost = functools.partial(work, images=self.images, held=self.held, side=1)
        budget = share * cost(whole)
        epochs = max(1, round(whole.epochs * math.sqrt(share)))
        for fewer in range(epochs, 0, -1):  # fewer, because scoring after each epoch has a cost
            images = budget / fewer - EVALUATION * self.held
            part = float(f"{min(whole.share, images / self.images):.3g}")
            if part > 0 and used_images(Fidelity(fewer, part), self.images) >= self.recipe.batch:
                return replace(whole, epochs=fewer, share=part)
        return replace(whole, epochs=1, share=min(1.0, self.recipe.batch / self.images))
