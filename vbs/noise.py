"""Whether the accuracies of several networks say more than chance and noise do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vbs.accuracy import chance_limit, paired_variance

FEWEST = 6  # networks before there is a doubt
MANY = 1 / 3  # of the networks at chance is worth a warning
REAL = 0.5  # share of the variance between networks that should be more than noise


class Doubt(NamedTuple):
    """Why networks cannot be distinguished: kind "chance" or "noise", and a sentence."""

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
    """The doubt about networks with these accuracies, in percent; None where there is none.

    They are scored on the same images. At chance is what cannot be distinguished from guessing: no
    more than two binomial errors above `chance`. Within noise are networks whose variance is less
    than twice that of a single network's paired error: then less than half of it is real, and more
    than half of what a choice goes by is luck.

    images     that each accuracy was read on; 0: unknown.
    chance     what guessing gets, see `vbs.accuracy.guessing`; NaN: unknown.
    deviation  between trainings of one network, NaN: unknown; each accuracy is the mean of so many
               `trainings`.
    when       in words, such as "after 2 epochs ".
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
            f"({chance:.1f}%{on}): choosing among them is choosing by "
            "noise",
        )
    noise = float(np.mean(paired_variance(values, images, deviation, trainings=trainings)))
    spread = float(values.var(ddof=1))
    if noise > 0 and spread * (1 - REAL) < noise:
        return Doubt(
            "noise",
            f"{when}the {len(values)} networks differ by {math.sqrt(spread):.2f} "
            f"points (standard deviation), the noise of one is "
            f"{math.sqrt(noise):.2f}: their order is mostly luck",
        )
    return None
