"""Standard errors of accuracies, and of differences between the accuracies of networks.

A measured accuracy has two errors. The first is the spread between trainings of the same network
with different seeds. The second is the binomial error: the images are a sample, and another set of
held-out images gives another accuracy. All seeds and all networks of a search are scored on the
same images, so the spread between seeds does not contain the binomial error, which must be added
for a single accuracy. In a comparison of two networks on the same images, most of the binomial
error cancels (Miller 2024, "Adding Error Bars to Evals", section 2.3); use the paired error
(`paired_variance`) instead.

Accuracies are in percent. Errors are one standard deviation, in percentage points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Correlation over images between the correctness of two trainings: two seeds of one network, and
# two networks of one space. Measured by experiments/paired_error.py.
ALIKE_SEEDS, ALIKE_NETWORKS = 0.59, 0.58
CLEAR = 2.0  # a difference of at least this many standard errors counts as clear


def accuracy_error(accuracy: np.ndarray | float, images: np.ndarray | int) -> np.ndarray:
    """Return the binomial error of accuracies measured on `images` images; NaN where images is 0.

    The error is half the width of Wilson's score interval of one standard deviation (Wilson 1927;
    recommended by Brown, Cai and DasGupta 2001, "Interval Estimation for a Binomial Proportion",
    for small samples). It tends to sqrt(p (1 - p) / n), and is not 0 for accuracies of 0 or 100%.
    """
    share = np.clip(np.asarray(accuracy, np.float64) / 100, 0, 1)
    count = np.asarray(images, np.float64)
    known = np.where(count > 0, count, np.nan)
    return 100 * np.sqrt(known * share * (1 - share) + 0.25) / (known + 1)


def near_best(accuracy: float, best: float, images: int) -> bool:
    """Return whether the best accuracy is at most one binomial error above an accuracy.

    It is the error of the lower accuracy: with a best accuracy of 100%, one image is noise.
    """
    return best - accuracy <= float(accuracy_error(accuracy, images))


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard error of the mean of values [n]; NaN for fewer than two."""
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def mean_error(accuracies: Sequence[float], images: int) -> float:
    """Return the error of the mean accuracy of one network trained several times.

    All trainings are scored on the same images. The error is sqrt(variance between trainings /
    trainings + binomial variance). For a single training the first term is unknown and omitted. For
    several trainings the error is slightly too large, because images on which the seeds disagree
    contribute to both terms. The error is NaN for one training on an unknown number of images, and
    for several trainings of equal accuracy on an unknown number of images.

    images  0: unknown; only the spread between trainings is used.
    """
    values = np.asarray(accuracies, np.float64)
    parts = [float(accuracy_error(values.mean(), images)) ** 2] if len(values) and images else []
    if len(values) > 1:
        parts.append(float(values.var(ddof=1)) / len(values))
    return math.sqrt(sum(parts)) if sum(parts) else math.nan


def pooled_deviation(accuracies: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation between trainings of one network, pooled over networks.

    NaN if no network was trained twice.
    """
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
    """Return the contribution of one network's mean accuracy to the variance of a difference.

    The difference is the one between the mean accuracies of two networks on the same images. The
    contribution has two terms. The first term is the variance between trainings divided by the
    number of trainings. This variance is taken as at least (1 - ALIKE_SEEDS) times the binomial
    variance, because seeds disagree about some images. The second term is the variance from images
    that are hard for only one of the networks: the binomial variance times ALIKE_SEEDS -
    ALIKE_NETWORKS. More seeds do not reduce it.

    deviation  standard deviation between trainings of one network, see `pooled_deviation`; NaN:
               unknown.
    images     number of images; 0: unknown, only the variance between trainings is used.
    """
    binomial = np.nan_to_num(accuracy_error(accuracy, images)) ** 2
    seeds = 0.0 if math.isnan(deviation) else deviation**2
    training = np.maximum(seeds, (1 - ALIKE_SEEDS) * binomial)
    return training / trainings + (ALIKE_SEEDS - ALIKE_NETWORKS) * binomial


class Lead(NamedTuple):
    """Lead of the best of several networks over the others, in percentage points.

    gap, error  lead over the second network and its paired error; NaN if there is no second.
    tied        number of other networks that are less than `CLEAR` paired errors behind.
    others      number of other networks.
    """

    gap: float
    error: float
    tied: int
    others: int

    def __str__(self) -> str:
        """Describe the lead in a sentence; "" if there is no other network."""
        if not self.others:
            return ""
        doubt = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        ahead = f"{self.gap:.2f}{doubt} points ahead of the second"
        if not self.tied:
            return f"the best is clearly ahead: {ahead}"
        many = f"{self.tied} other" + ("s" if self.tied > 1 else "")
        return f"the best is within noise of {many}: {ahead}"


def lead(means: np.ndarray, variances: np.ndarray, *, best: int = 0) -> Lead:
    """Return the lead of network number `best` over the other networks.

    means      mean accuracy of each network [n], in percent.
    variances  contribution of each network to the variance of a difference [n], see
               `paired_variance`; 0: unknown.

    The lead is too large on average, because the best network was selected by the same
    accuracies. If no variance is known, no lead counts as clear.
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
    """Return the `lead` of the network with the highest mean accuracy.

    accuracies  accuracies of all trainings of each network, in percent.
    images      number of images, the same for all networks; 0: unknown.
    """
    means = np.array([float(np.mean(values)) for values in accuracies])
    counts = np.array([len(values) for values in accuracies])
    deviation = pooled_deviation(accuracies)
    variances = paired_variance(means, images, deviation, trainings=counts)
    return lead(means, variances, best=int(means.argmax()))


def chance_limit(chance: float, images: int) -> float:
    """Return the highest accuracy that guessing explains: chance + `CLEAR` binomial errors.

    chance  accuracy of guessing: the share of the largest class, at least 1 / classes; in percent.
            NaN: unknown; the result is NaN too.
    """
    if math.isnan(chance):
        return math.nan
    return chance + CLEAR * float(np.nan_to_num(accuracy_error(chance, images)))


def guessing(labels: Sequence[int] | np.ndarray, classes: int) -> float:
    """Return the accuracy of guessing on images with these labels, in percent.

    This accuracy is the share of the largest class, at least 1 / classes; NaN without labels.
    """
    known = np.asarray(labels)
    if not len(known):
        return math.nan
    return 100 * max(1 / classes, float(np.bincount(known[known >= 0]).max(initial=0)) / len(known))
