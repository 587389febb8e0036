"""Errors of accuracies: binomial, of means over seeds, of differences on the same images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import sem

from vbs.accuracy import (
    accuracy_error,
    chance_limit,
    guessing,
    lead_of,
    mean_error,
    paired_variance,
    pooled_deviation,
    standard_error,
)


@pytest.mark.parametrize(("right", "images"), [(34, 72), (0, 72), (72, 72), (1, 1), (480, 5000)])
def test_the_error_is_half_of_wilsons_interval(right: int, images: int) -> None:
    # the ends are the p at a distance of one standard error (of p) from the observed share
    seen = right / images
    ends = np.roots([1 + 1 / images, -(2 * seen + 1 / images), seen**2])
    error = float(accuracy_error(100 * seen, images))
    assert error == pytest.approx(100 * abs(float(ends[0] - ends[1])) / 2, rel=1e-6)
    assert error > 0


def test_the_error_is_the_usual_one_for_many_images() -> None:
    usual = 100 * math.sqrt(0.25 * 0.75 / 50_000)
    assert float(accuracy_error(25.0, 50_000)) == pytest.approx(usual, rel=1e-3)
    assert np.isnan(accuracy_error(np.array([25.0]), np.array([0]))).all()


def test_two_equal_seeds_on_72_images_are_not_without_error() -> None:
    assert mean_error([47.22, 47.22], 72) == pytest.approx(5.84, abs=0.01)  # once ± 0.00
    assert mean_error([47.22], 72) == pytest.approx(5.84, abs=0.01)
    assert math.isnan(mean_error([47.22], 0))
    assert math.isnan(mean_error([47.22, 47.22], 0))  # equal by chance
    assert mean_error([46.0, 48.0], 0) == pytest.approx(1.0)


def simulated(rng: np.random.Generator, *, seeds: int, images: int) -> np.ndarray:
    """Draw accuracies of trainings that are scored on one minival, image by image."""
    easy = rng.beta(0.6, 0.3, images)  # share of trainings that are right, for each image
    skill = rng.normal(0, 0.01, seeds)  # deviation of a training from this share
    return 100 * (rng.random((seeds, images)) < np.clip(easy + skill[:, None], 0, 1)).mean(1)


def test_the_error_of_a_mean_holds_seeds_and_images() -> None:
    rng = np.random.default_rng(0)
    trials = [simulated(rng, seeds=3, images=100) for _ in range(4000)]
    means = [float(values.mean()) for values in trials]
    missed = float(np.std(means))  # all minivals have the same true accuracy
    stated = math.sqrt(np.mean([mean_error(values.tolist(), 100) ** 2 for values in trials]))
    alone = math.sqrt(np.mean([values.var(ddof=1) / 3 for values in trials]))
    assert alone < 0.75 * missed  # the spread of seeds on one minival lacks the sampling error
    assert 0.95 * missed < stated < 1.4 * missed


def test_a_difference_on_the_same_images_is_known_better_than_the_accuracies() -> None:
    single = float(accuracy_error(60.0, 500))
    paired = math.sqrt(2 * float(paired_variance(60.0, 500)))
    assert paired < math.sqrt(2) * single
    more = math.sqrt(2 * float(paired_variance(60.0, 500, 1.0, trainings=9)))
    assert more < paired
    assert float(paired_variance(60.0, 0, 2.0, trainings=4)) == pytest.approx(1.0)


def test_the_lead_counts_those_within_noise() -> None:
    close = lead_of([[70.0, 71.0], [70.5, 70.0], [40.0, 41.0]], 1000)
    assert (close.tied, close.others) == (1, 2)
    assert "within noise of 1 other: 0.25 ± " in str(close)
    clear = lead_of([[40.0, 41.0], [70.0, 71.0]], 1000)
    assert "clearly ahead: 30.00 ± " in str(clear)
    assert lead_of([[70.0], [60.0]], 0).tied == 1  # the errors are unknown
    assert str(lead_of([[70.0]], 100)) == ""
    assert lead_of([[70.0, 70.0], [69.9, 69.9]], 72).tied == 1  # equal seeds show no noise


def test_pooled_deviation() -> None:
    assert pooled_deviation([[50.0, 52.0], [60.0, 62.0], [1.0]]) == pytest.approx(math.sqrt(2))
    assert math.isnan(pooled_deviation([[50.0], [60.0]]))


def test_guessing() -> None:
    assert guessing([0, 0, 0, 1], 2) == 75.0
    assert guessing(np.arange(12), 12) == pytest.approx(100 / 12)
    assert math.isnan(guessing([], 2))
    assert chance_limit(100 / 12, 72) == pytest.approx(14.9, abs=0.1)
    assert math.isnan(chance_limit(math.nan, 72))


def test_standard_error_is_that_of_scipy():
    values = [61.2, 60.4, 62.9]
    assert standard_error(values) == pytest.approx(sem(values))
    assert math.isnan(standard_error([61.2]))
