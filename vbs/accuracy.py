"""How well an accuracy is known that was read on a number of images.

Two errors are added. Another training of the same network, with another seed, gives another
accuracy. And the images are a sample: another set of held-out images would give another one, which
is the binomial error. All seeds and all networks of a search are scored on the same images, so the
spread between seeds holds nothing of the second error: it has to be added for the accuracy itself.
Where two networks are compared on the same images most of it cancels (Miller 2024, "Adding Error
Bars to Evals", section 2.3), and the paired error below is what counts.

Accuracies are in percent, errors one standard deviation in points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# How often two trainings are right on the same images, as a correlation over images: two seeds of
# one network, and two networks of one space. Measured by experiments/paired_error.py.
ALIKE_SEEDS, ALIKE_NETWORKS = 0.59, 0.58
CLEAR = 2.0  # standard errors beyond which a difference is called clear


def accuracy_error(accuracy: np.ndarray | float, images: np.ndarray | int) -> np.ndarray:
    """The binomial error of accuracies that were read on so many images; NaN where images is 0.

    Half the width of Wilson's score interval of one standard deviation (Wilson 1927; recommended
    by Brown, Cai and DasGupta 2001, "Interval Estimation for a Binomial Proportion", for small
    numbers). It tends to sqrt(p (1 - p) / n), and is not 0 where all images or none are right.
    """
    share = np.clip(np.asarray(accuracy, np.float64) / 100, 0, 1)
    count = np.asarray(images, np.float64)
    known = np.where(count > 0, count, np.nan)
    return 100 * np.sqrt(known * share * (1 - share) + 0.25) / (known + 1)


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard error of the mean of values [n]; NaN for fewer than two."""
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def mean_error(accuracies: Sequence[float], images: int) -> float:
    """The error of one network's mean accuracy, over trainings that were scored on the same images.

    sqrt(variance between trainings / trainings + binomial variance). Of a single training the
    first part is unknown and left out. Of several it is a little too large: that seeds are right
    on other images is in both parts. NaN where nothing is known: of one training on an unknown
    number of images, and of several that happen to be equal.

    images  0: unknown, the spread between trainings alone.
    """
    values = np.asarray(accuracies, np.float64)
    parts = [float(accuracy_error(values.mean(), images)) ** 2] if len(values) and images else []
    if len(values) > 1:
        parts.append(float(values.var(ddof=1)) / len(values))
    return math.sqrt(sum(parts)) if sum(parts) else math.nan


def pooled_deviation(accuracies: Sequence[Sequence[float]]) -> float:
    """Deviation between the trainings of one network, pooled over networks; NaN where none was
    trained twice."""
    squares = sum(float(np.var(values) * len(values)) for values in accuracies if len(values))
    freedom = sum(len(values) - 1 for values in accuracies if len(values))
    return math.sqrt(squares / freedom) if freedom else math.nan


def paired_variance(
    accuracy: np.ndarray | float,
    images: np.ndarray | int,
    deviation: float = math.nan,
    *,
    trainings: np.ndarray | int = 1,
) -> np.ndarray:
    """What one network's mean accuracy adds to the variance of a difference between two networks.

    Both are scored on the same images. The first part is that of training, over the number of
    trainings: the variance between seeds, no less than what seeds change by being right on other
    images. The second is what two networks find hard or easy differently, which no further seed
    removes: the binomial variance times ALIKE_SEEDS - ALIKE_NETWORKS.

    deviation  between trainings of one network, see `pooled_deviation`; NaN: unknown.
    images     0: unknown, the variance of training alone.
    """
    binomial = np.nan_to_num(accuracy_error(accuracy, images)) ** 2
    seeds = 0.0 if math.isnan(deviation) else deviation**2
    training = np.maximum(seeds, (1 - ALIKE_SEEDS) * binomial)
    return training / trainings + (ALIKE_SEEDS - ALIKE_NETWORKS) * binomial


class Lead(NamedTuple):
    """How far the best of several networks is ahead, in points.

    gap, error  to the second, with its paired error; NaN where there is no second.
    tied        how many others are less than `CLEAR` paired errors behind.
    others      how many others there are.
    """

    gap: float
    error: float
    tied: int
    others: int

    def __str__(self) -> str:
        """In a sentence; "" where there is no other."""
        if not self.others:
            return ""
        doubt = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        ahead = f"{self.gap:.2f}{doubt} points ahead of the second"
        if not self.tied:
            return f"the best is clearly ahead: {ahead}"
        many = f"{self.tied} other" + ("s" if self.tied > 1 else "")
        return f"the best is within noise of {many}: {ahead}"


def lead(means: np.ndarray, variances: np.ndarray, *, best: int = 0) -> Lead:
    """How far the network `best` is ahead of the others, from the mean of each and what each adds
    to the variance of a difference (`paired_variance`), [n] both; a variance of 0 is unknown.

    The best was chosen for being best, so that its lead is too large on average. Where nothing is
    known of the errors, no lead is clear.
    """
    others = np.delete(np.arange(len(means)), best)
    if not len(others):
        return Lead(math.nan, math.nan, 0, 0)
    known = variances[others] + variances[best]
    errors = np.sqrt(np.where(known > 0, known, np.nan))
    gaps = means[best] - means[others]
    tied = ~(gaps >= CLEAR * errors)  # comparisons with NaN are false
    second = int(gaps.argmin())
    return Lead(float(gaps[second]), float(errors[second]), int(tied.sum()), len(others))


def lead_of(accuracies: Sequence[Sequence[float]], images: int) -> Lead:
    """The `lead` of the network of highest mean accuracy, from the accuracies of all trainings of
    each, scored on the same images (0: it is not known on how many)."""
    means = np.array([float(np.mean(values)) for values in accuracies])
    counts = np.array([len(values) for values in accuracies])
    deviation = pooled_deviation(accuracies)
    variances = paired_variance(means, images, deviation, trainings=counts)
    return lead(means, variances, best=int(means.argmax()))


def chance_limit(chance: float, images: int) -> float:
    """The accuracy up to which a network may be guessing: chance and `CLEAR` binomial errors.

    chance  what guessing gets: the share of the largest class, at least 1 / classes; in percent.
            NaN: unknown, then so is the limit.
    """
    if math.isnan(chance):
        return math.nan
    return chance + CLEAR * float(np.nan_to_num(accuracy_error(chance, images)))


def guessing(labels: Sequence[int] | np.ndarray, classes: int) -> float:
    """What guessing gets on images of these labels, in percent: the share of the largest class,
    at least 1 / classes; NaN without labels."""
    known = np.asarray(labels)
    if not len(known):
        return math.nan
    return 100 * max(1 / classes, float(np.bincount(known[known >= 0]).max(initial=0)) / len(known))
