"""Stand-alone trainings of networks that are spread over a space: what a supernet is judged by."""

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

SEEDS = 2  # of each network of the judge
SHORT_SEED = 2  # of the short trainings: another one than the judge's


class Training(NamedTuple):
    """Which training: the row of a network, and its seed."""

    network: int
    seed: int


@dataclass(frozen=True)
class Judge:
    """What is trained on its own.

    genotypes     int8 [networks, decisions] of the space.
    recipe        not fitted to a fidelity.
    fidelity      of the trainings that decide.
    images, held  how many images there are to train on, and to score on.
    """

    space: SearchSpace
    data: DataIdentity
    genotypes: np.ndarray
    recipe: Recipe
    fidelity: Fidelity
    images: int
    held: int

    def key(self, network: int) -> str:
        """Of the network in a row."""
        return network_key(self.space, self.genotypes[network])

    def trainings(self) -> list[Training]:
        """Those that decide, all networks with one seed first."""
        return [
            Training(network, seed)
            for seed in range(SEEDS)
            for network in range(len(self.genotypes))
        ]

    def shorts(self) -> list[Training]:
        """The short trainings."""
        return [Training(network, SHORT_SEED) for network in range(len(self.genotypes))]

    def short(self, share: float) -> Fidelity:
        """The fidelity that costs a share of the deciding trainings, as near as images allow.

        Epochs and images shrink alike. A share of 1 or more is the fidelity itself.
        """
        whole = self.fidelity
        if share >= 1:
            return whole
        cost = functools.partial(work, images=self.images, held=self.held, side=1)
        budget = share * cost(whole)
        epochs = max(1, round(whole.epochs * math.sqrt(share)))
        for fewer in range(epochs, 0, -1):  # scoring after each epoch may cost too much by itself
            images = budget / fewer - EVALUATION * self.held
            part = float(f"{min(whole.share, images / self.images):.3g}")
            if part > 0 and used_images(Fidelity(fewer, part), self.images) >= self.recipe.batch:
                return replace(whole, epochs=fewer, share=part)
        return replace(whole, epochs=1, share=min(1.0, self.recipe.batch / self.images))
