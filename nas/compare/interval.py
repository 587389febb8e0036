"""Means over searches with 95% confidence intervals by Student's t."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vbs.accuracy import standard_error


class Interval(NamedTuple):
    """A mean over searches with its 95% confidence interval, which is NaN for a single search."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the numbers with the digits that the width of the interval supports."""
        if math.isnan(self.mean):
            return "-"
        if math.isnan(self.low):
            return _text(self.mean, abs(self.mean) / 100, abs(self.mean))
        largest = max(map(abs, self))
        half = (self.high - self.low) / 2 or largest / 100
        mean, low, high = (_text(each, half, largest) for each in self)
        return f"{mean} ({low} to {high})"


def _text(value: float, error: float, largest: float) -> str:
    """Return a number with two significant digits of its error, and at least two decimals.

    largest  largest of the numbers that are shown together.
    """
    if largest == 0 or error == 0:
        return f"{value:.2f}"
    place = math.floor(math.log10(error))  # decimal place of the first digit of the error
    if 1e-3 <= largest < 1e5:
        return f"{value:.{min(max(2, 1 - place), 6)}f}"
    return f"{value:.{min(max(4, math.floor(math.log10(largest)) - place + 2), 9)}g}"


def interval(values: np.ndarray) -> Interval:
    """Return the mean of values [n] with its 95% interval."""
    mean = float(np.mean(values))
    if len(values) < 2 or math.isnan(mean):
        return Interval(mean, math.nan, math.nan)
    half = _quantile(len(values) - 1) * standard_error(values)
    return Interval(mean, mean - half, mean + half)


def welch(first: np.ndarray, second: np.ndarray) -> Interval:
    """Return the difference of the means of independent values [n] and [m], with Welch's t."""
    mean = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2 or math.isnan(mean):
        return Interval(mean, math.nan, math.nan)
    parts = np.array([each.var(ddof=1) / len(each) for each in (first, second)])
    if not parts.sum():
        return Interval(mean, mean, mean)
    freedom = parts.sum() ** 2 / (parts**2 / [len(first) - 1, len(second) - 1]).sum()
    half = _quantile(freedom) * math.sqrt(parts.sum())
    return Interval(mean, mean - half, mean + half)


def _quantile(freedom: float) -> float:
    """Return the 97.5% quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
