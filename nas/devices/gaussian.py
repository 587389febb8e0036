"""Bayesian inference of a device's weights and floor from few measurements.

    log time = smooth_max(mean + features @ weights, floor) + noise,   weights ~ N(0, deviations^2)

The floor is a lower bound of the time, such as the time of kernel launches. `bounded` is the smooth
maximum. The marginal likelihood (evidence) selects the floor, or none, and the noise of the
measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SHARPNESS = 6.0  # sharpness of the smooth maximum of time and floor
NO_FLOOR = -np.inf
FLOORS = (-0.12, -0.06, -0.02, 0.02, 0.06, 0.12)  # log distance to the second fastest measurement
FLOOR_CHANCE = 0.2  # prior probability that a device has a floor
NOISES = {1.0: 0.7, 2.0: 0.2, 4.0: 0.1}  # factor of the prior's noise -> prior probability
STEPS = 8  # steps of Gauss-Newton


@dataclass(frozen=True)
class Solution:
    """Posterior for one floor and one noise.

    alpha     dual weights, [n]: weights = deviations^2 * (features' @ alpha).
    spread    effective standard deviation of each measurement for the weights, [n].
    floor     log floor; `NO_FLOOR`: none.
    noise     standard deviation of a measurement of the log time.
    evidence  log marginal likelihood, up to a constant.
    """

    alpha: np.ndarray
    spread: np.ndarray
    floor: float
    noise: float
    evidence: float


def bounded(value: np.ndarray, floor: float) -> np.ndarray:
    """Return the smooth maximum of log times and a log floor."""
    if floor == NO_FLOOR:
        return value
    return np.logaddexp(SHARPNESS * value, SHARPNESS * floor) / SHARPNESS


def share_above(value: np.ndarray, floor: float) -> np.ndarray:
    """Return the derivative of `bounded`: 1 far above the floor, 0 far below."""
    return 1 / (1 + np.exp(np.clip(SHARPNESS * (floor - value), -40, 40)))


def solve(
    scaled: np.ndarray, mean: np.ndarray, measured: np.ndarray, floor: float, noise: float
) -> Solution:
    """Return the posterior mode and its evidence by the Laplace approximation.

    scaled    features times prior deviations, [n, features].
    mean      prior mean of the log times, [n].
    measured  measured log times, [n].
    floor     log floor; `NO_FLOOR`: none.
    noise     standard deviation of a measurement.
    """
    kernel = scaled @ scaled.T
    value = measured.copy()
    alpha, above = np.zeros(len(mean)), np.ones(len(mean))
    for _ in range(STEPS if floor != NO_FLOOR else 1):
        above = np.clip(share_above(value, floor), 0.02, 1)
        target = value + (measured - bounded(value, floor)) / above
        alpha = np.linalg.solve(kernel + np.diag((noise / above) ** 2), target - mean)
        value = value + np.clip(mean + kernel @ alpha - value, -0.5, 0.5)
    if floor == NO_FLOOR:
        value = mean + kernel @ alpha
    missed = measured - bounded(value, floor)
    precision = (above / noise) ** 2
    volume = np.linalg.slogdet(np.eye(len(mean)) + precision[:, None] * kernel)[1]
    evidence = -0.5 * (missed @ missed / noise**2 + (value - mean) @ alpha + volume)
    evidence -= len(mean) * np.log(noise)
    return Solution(alpha, noise / above, floor, noise, float(evidence))


def hypotheses(
    measured: np.ndarray, noise: float, factors: Mapping[float, float]
) -> list[tuple[float, float, float]]:
    """Return (floor, noise, log prior probability) of each hypothesis."""
    second = np.sort(measured)[1]
    floors = [(NO_FLOOR, 1 - FLOOR_CHANCE)]
    floors += [(float(second + away), FLOOR_CHANCE / len(FLOORS)) for away in FLOORS]
    return [
        (floor, noise * factor, float(np.log(chance * likely)))
        for floor, chance in floors
        for factor, likely in factors.items()
    ]


def infer(scaled: np.ndarray, mean: np.ndarray, measured: np.ndarray, noise: float) -> Solution:
    """Return the solution of the most probable floor and noise; arguments as for `solve`."""
    found = []
    for floor, spread, chance in hypotheses(measured, noise, NOISES):
        solution = solve(scaled, mean, measured, floor, spread)
        found.append((solution.evidence + chance, solution))
    return max(found, key=lambda each: each[0])[1]


def evidence(scaled: np.ndarray, mean: np.ndarray, measured: np.ndarray, noise: float) -> float:
    """Return the log marginal likelihood over all floors at one noise; arguments as for `solve`."""
    found = [
        solve(scaled, mean, measured, floor, spread).evidence + chance
        for floor, spread, chance in hypotheses(measured, noise, {1.0: 1.0})
    ]
    return float(np.logaddexp.reduce(found))


def covariance_factor(scaled: np.ndarray, solution: Solution) -> np.ndarray:
    """Return a factor R [features, features] of the posterior covariance of weights / deviations.

    The covariance is R R'.
    """
    precision = (scaled / solution.spread[:, None]).T @ (scaled / solution.spread[:, None])
    precision[np.diag_indices_from(precision)] += 1.0
    return np.linalg.inv(np.linalg.cholesky(precision)).T
