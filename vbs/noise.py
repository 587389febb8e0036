"""Test whether differences between the accuracies of several networks exceed chance and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vbs.accuracy import chance_limit, paired_variance

FEWEST = 6  # smallest number of networks that is tested
MANY = 1 / 3  # share of networks at chance from which there is a warning
REAL = 0.5  # smallest share of the variance between networks that should be real


class Doubt(NamedTuple):
    """The reason why networks cannot be distinguished: "chance" or "noise", and a sentence."""

    kind: str
    text: str


def doubt_of(
    accuracies: Sequence[float] | np.ndarray,
    *,
    images: int,
    chance: float = math.nan,
    deviation: float = math.nan,
    trainings: int = 1,
    when: str = "",
) -> Doubt | None:
    """Return the reason why networks with these accuracies cannot be distinguished, or None.

    All networks are scored on the same images. A network is at chance if its accuracy is at most
    two binomial errors above `chance`. Networks are within noise if their variance is less than
    twice that of the paired error of a single network: then less than half of the variance is
    real, and a choice among them is mostly random.

    accuracies  accuracy of each network, in percent.
    images      number of images of each accuracy; 0: unknown.
    chance      accuracy of guessing, see `vbs.accuracy.guessing`; NaN: unknown.
    deviation   standard deviation between trainings of one network; NaN: unknown.
    trainings   number of trainings of which each accuracy is the mean.
    when        prefix of the sentence, such as "after 2 epochs ".
    """
    values = np.asarray(accuracies, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < FEWEST:
        return None
    limit = chance_limit(chance, images)
    guessing = int((values <= limit).sum())
    if guessing >= MANY * len(values):
        on = f", up to {limit:.1f}% on {images:,} images" if images else ""
        return Doubt(
            "chance",
            f"{when}{guessing} of {len(values)} networks are at chance "
            f"({chance:.1f}%{on}): a choice among them is "
            "random",
        )
    noise = float(np.mean(paired_variance(values, images, deviation, trainings=trainings)))
    spread = float(values.var(ddof=1))
    if noise > 0 and spread * (1 - REAL) < noise:
        return Doubt(
            "noise",
            f"{when}the {len(values)} networks differ by {math.sqrt(spread):.2f} "
            f"points (standard deviation), the noise of one network is "
            f"{math.sqrt(noise):.2f}: their order is mostly random",
        )
    return None
