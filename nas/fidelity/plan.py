"""What to compare: networks that are spread over a space, and fidelities worth trying."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from nas.evaluators.proxy import EVALUATION, Fidelity, used_images
from nas.history import History
from nas.objective import Objective
from nas.search.loop import check_limits
from nas.strategies.base import sample_fresh
from search_spaces.space import SearchSpace
from train.length import FIRST_JUDGED, enough_epochs
from train.recipe import Recipe

DRAWS = 2000  # random networks to choose from
IMAGES = 20_000  # an epoch of the longest training has no more, unless asked for
EPOCHS = 30  # nor has it more epochs
LEAST_SIDE = 16  # px


def within(space: SearchSpace, target: float | None) -> Objective:
    """At most so many FLOPs, or any; ValueError where the space has no such network."""
    most = float(space.cost_range("flops")[1]) if target is None else target
    objective = Objective(most, "feasible")
    check_limits(space, objective)
    return objective


def spread(space: SearchSpace, objective: Objective, count: int) -> np.ndarray:
    """`count` feasible networks unlike each other, int8 [count, decisions], by rising FLOPs.

    Of random feasible networks, one from each of `count` equally full bands of FLOPs: the one
    that differs in most decisions from the nearest of those taken before. So they are spread as a
    search's candidates are, not pushed to the corners of the space, which would be too easy to
    rank. The same for the same space and limits. ValueError where there are too few.
    """
    found = sample_fresh(History(space, objective), DRAWS, np.random.default_rng(0))
    if len(found) < count:
        raise ValueError(
            f"networks: {count} are more than the {len(found)} that were found within the limits"
        )
    order = np.argsort(space.costs(found).flops, kind="stable")
    bands = np.array_split(order, count)
    taken = [int(bands[0][len(bands[0]) // 2])]
    for band in bands[1:]:
        differing = (found[band][:, None] != found[taken][None]).sum(2)
        # of equally far ones that which is unlike all others too
        best = np.lexsort((-differing.sum(1), -differing.min(1)))[0]
        taken.append(int(band[best]))
    return found[taken]


def longest_of(recipe: Recipe, *, images: int, named: bool = False) -> Fidelity:
    """What the others are compared with by default: the recipe's epochs (at most 30, but enough
    steps) of so many training images (at most about 20,000).

    named  whether the user named the epochs, which are then only cut.
    """
    share = min(1.0, float(f"{IMAGES / images:.2g}"))
    usual = Fidelity(min(recipe.epochs, EPOCHS), share)
    if named:
        return usual
    used = used_images(usual, images)
    return replace(usual, epochs=enough_epochs(recipe, used, epochs=usual.epochs))


def ladder(longest: Fidelity, *, images: int, side: int, batch: int) -> list[Fidelity]:
    """Cheaper fidelities: a third of the epochs, a quarter of the images, 3/4 of the side.

    From about an eighth to about half of the longest's cost. Trainings of less than
    `FIRST_JUDGED` optimizer steps and sides below 16 px are left out, so that of a tiny data set
    few may remain.
    """
    per_epoch = max(1, used_images(longest, images) // batch)
    # a longest training that the user made short has cheaper ones too
    least = min(FIRST_JUDGED, longest.epochs * per_epoch // 3)
    third = max(1, round(longest.epochs / 3), math.ceil(least / per_epoch))
    quarter = float(f"{longest.share / 4:.2g}")
    smaller = (longest.resolution or side) * 3 // 32 * 8
    tried = [
        (third, quarter, longest.resolution),
        (third, longest.share, smaller),
        (longest.epochs, quarter, longest.resolution),
        (third, longest.share, longest.resolution),
        (longest.epochs, longest.share, smaller),
    ]
    chosen: list[Fidelity] = []
    for epochs, share, resolution in tried:
        fidelity = Fidelity(epochs, share, 0 if resolution < LEAST_SIDE else resolution)
        steps = epochs * (used_images(fidelity, images) // batch)
        new = fidelity not in (longest, *chosen) and resolution in (0, fidelity.resolution)
        if new and steps >= least:
            chosen.append(fidelity)
    return chosen


def work(fidelity: Fidelity, *, images: int, held: int, side: int) -> float:
    """What a training costs, in training images of `side` px; a held out one counts
    `EVALUATION`: every epoch evaluates the weights and their moving average."""
    share = (fidelity.resolution / side) ** 2 if fidelity.resolution else 1.0
    return share * fidelity.epochs * (used_images(fidelity, images) + EVALUATION * held)
