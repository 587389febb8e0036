"""First proposals of a search from pretrained weights: the parent, shrunk by simple rules.

Random sub-networks keep a random share of every stage, and are inaccurate for small targets.
Uniformly shrunk networks, at each resolution, are better starting points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.history import History
from nas.objective import Objective
from nas.parents.references import shrunk
from nas.strategies.base import Strategy, fresh
from search_spaces.space import SearchSpace

REDUCED = (("l",), ("l", "e"), ("l", "e", "c"))  # kinds of decisions that are reduced together
NEAR = 0.75  # share of the target; cheaper networks are left out
MOST = 16  # starting points


def starting_genotypes(space: SearchSpace, objective: Objective) -> np.ndarray:
    """Return genotypes int8 [n, decisions], n up to `MOST`, nearest to the target first.

    There are three networks for each resolution. Each is the most expensive network within the
    limits that is shrunk uniformly by fewer layers, by fewer layers and smaller expansions, or by
    fewer layers, smaller expansions and fewer channels.
    """
    found = []
    for option in range(len(space.choices["resolution"])):
        for kinds in REDUCED:
            genotypes = np.array(list(shrunk(space, kinds, option)))
            costs = space.costs(genotypes)
            spent = np.where(objective.feasible(costs), costs.get(objective.of), -np.inf)
            if spent.max() >= NEAR * objective.target:
                found.append((float(spent.max()), genotypes[spent.argmax()]))
    found.sort(key=lambda each: -each[0])
    if not found:
        return np.empty((0, len(space.choices)), np.int8)
    _, first = np.unique([genotype for _, genotype in found], axis=0, return_index=True)
    return np.array([found[place][1] for place in sorted(first)])[:MOST]


@dataclass(frozen=True)
class Starting:
    """Strategy that proposes shrunk parents first, then the proposals of another strategy."""

    strategy: Strategy

    @property
    def generation(self) -> int:
        """Size of a generation of the other strategy."""
        return self.strategy.generation

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return `starting_genotypes` that are not in the history, then those of the strategy.

        See `Strategy.propose`.
        """
        first = fresh(starting_genotypes(history.space, history.objective), history)[:count]
        if len(first):
            return first
        return self.strategy.propose(history, count, rng)
