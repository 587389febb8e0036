"""Reference networks that a search from pretrained weights is compared with.

They need no search: the parent at a lower resolution, and the parent with all stages reduced by
the same share.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from nas.objective import Objective
from search_spaces.space import SearchSpace

SMALLER, UNIFORM = "parent at a lower resolution", "uniform shrinking"


def reference_genotypes(space: SearchSpace, objective: Objective) -> dict[str, np.ndarray]:
    """Return name -> genotype int8 [decisions] of the most expensive network of each kind.

    Only networks within the limits are considered; see `ordered_references`.
    """
    return {name: each[0] for name, each in ordered_references(space, objective).items()}


def ordered_references(space: SearchSpace, objective: Objective) -> dict[str, np.ndarray]:
    """Return name -> genotypes int8 [n, decisions] within the limits, the most expensive first.

    A kind without a network within the limits is left out.

    space  space of a parent's sub-networks, with the measured costs that the objective needs.
    """
    found = {}
    for name, kind in ((SMALLER, _smaller(space)), (UNIFORM, shrunk(space))):
        genotypes = np.array(list(kind), np.int8)
        costs = space.costs(genotypes)
        feasible = np.flatnonzero(objective.feasible(costs))
        if len(feasible):
            order = np.argsort(-costs.get(objective.of)[feasible], kind="stable")
            found[name] = genotypes[feasible[order]]
    return found


def _smaller(space: SearchSpace) -> Iterator[np.ndarray]:
    """Yield the parent at each of its resolutions."""
    for option in range(len(space.choices["resolution"])):
        genotype = np.zeros(len(space.choices), np.int8)
        genotype[list(space.choices).index("resolution")] = option
        yield genotype


def shrunk(
    space: SearchSpace, kinds: Sequence[str] = ("c", "e", "l"), resolution: int = 0
) -> Iterator[np.ndarray]:
    """Yield uniformly shrunk parents, int8 [decisions], for all combinations of levels.

    Each kind of decision is reduced by about the same share in all stages.

    kinds       kinds of decisions that are reduced: "c" (channels, including stem and head), "e"
                (expansions), "l" (layers).
    resolution  index of the resolution among its options.
    """
    most = {
        kind: max(len(options) for name, options in space.choices.items() if _kind(name) == kind)
        for kind in kinds
    }
    for levels in itertools.product(*(range(most[kind]) for kind in kinds)):
        level = dict(zip(kinds, levels, strict=True))
        yield np.array(
            [
                resolution
                if name == "resolution"
                else _level(len(options), level[_kind(name)], most[_kind(name)])
                if _kind(name) in level
                else 0
                for name, options in space.choices.items()
            ],
            np.int8,
        )


def _kind(decision: str) -> str:
    """Return the letter of a decision; stem and head count as channels."""
    return "c" if decision in ("stem", "head") else decision.rpartition("_")[2]


def _level(options: int, level: int, most: int) -> int:
    """Return the option of a decision at a level of `most` levels."""
    return round(level * (options - 1) / max(1, most - 1))
