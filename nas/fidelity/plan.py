"""Plan of a comparison: networks spread over a space, and candidate fidelities."""

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
IMAGES = 20_000  # most images per epoch of the longest training, by default
EPOCHS = 30  # most epochs of the longest training, by default
LEAST_SIDE = 16  # px, smallest input side


def within(space: SearchSpace, target: float | None) -> Objective:
    """Return an objective that limits FLOPs to `target` (None: no limit).

    Raises ValueError if the space has no network within the limit.
    """
    most = float(space.cost_range("flops")[1]) if target is None else target
    objective = Objective(most, "feasible")
    check_limits(space, objective)
    return objective


def spread(space: SearchSpace, objective: Objective, count: int) -> np.ndarray:
    """Return `count` diverse feasible networks, int8 [count, decisions], by ascending FLOPs.

    Random feasible networks are divided into `count` equally large bands of FLOPs. From each band,
    the network is chosen that differs in the most decisions from the nearest network chosen before.
    The networks are as diverse as the candidates of a search. They are not at the corners of the
    space, where they would be too easy to rank. The result is deterministic.

    Raises ValueError if there are too few networks within the limits.
    """
    found = sample_fresh(History(space, objective), DRAWS, np.random.default_rng(0))
    if len(found) < count:
        raise ValueError(
            f"networks: {count} are too many; only {len(found)} were found within the limits"
        )
    order = np.argsort(space.costs(found).flops, kind="stable")
    bands = np.array_split(order, count)
    taken = [int(bands[0][len(bands[0]) // 2])]
    for band in bands[1:]:
        differing = (found[band][:, None] != found[taken][None]).sum(2)
        # among equally distant ones, take the one that differs most from all others
        best = np.lexsort((-differing.sum(1), -differing.min(1)))[0]
        taken.append(int(band[best]))
    return found[taken]


def longest_of(recipe: Recipe, *, images: int, named: bool = False) -> Fidelity:
    """Return the default fidelity that the others are compared with.

    It has the recipe's epochs (at most 30, but enough optimizer steps) and at most about 20,000
    training images.

    images  number of training images.
    named   whether the user set the epochs. If so, they are not raised.
    """
    share = min(1.0, float(f"{IMAGES / images:.2g}"))
    usual = Fidelity(min(recipe.epochs, EPOCHS), share)
    if named:
        return usual
    used = used_images(usual, images)
    return replace(usual, epochs=enough_epochs(recipe, used, epochs=usual.epochs))


def ladder(longest: Fidelity, *, images: int, side: int, batch: int) -> list[Fidelity]:
    """Return cheaper fidelities: a third of the epochs, a quarter of the images, 3/4 of the side.

    They cost from about an eighth to about half as much as the longest. Trainings of less than
    `FIRST_JUDGED` optimizer steps and sides below 16 px are left out, so few fidelities may remain
    for a tiny data set.

    images  number of training images.
    side    input side in pixels of fidelities without a resolution.
    batch   batch of the recipe.
    """
    per_epoch = max(1, used_images(longest, images) // batch)
    # a short longest training of the user also needs cheaper ones
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
    """Return the cost of a training in training images of `side` px.

    A held-out image counts as `EVALUATION` images, because every epoch evaluates the weights and
    their moving average.

    images  number of training images.
    held    number of held-out images.
    """
    share = (fidelity.resolution / side) ** 2 if fidelity.resolution else 1.0
    return share * fidelity.epochs * (used_images(fidelity, images) + EVALUATION * held)
