"""Prior of an unmeasured device, and the choice of networks to measure on it.

`experiments.leave_one_device_out` learned the deviations of the prior from the differences between
the measured devices. Networks are chosen greedily: each next one reduces the expected error over
the space the most.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np

from nas.devices.features import GROUPS, Features
from nas.devices.measured import MeasuredDevice, measured_devices
from nas.devices.names import MOST
from nas.devices.prediction import check_is_space
from nas.devices.stage_times import StageTimes
from search_spaces.space import SearchSpace
from vbs.text import quoted

FILE = "prior.json"
CONSTANT = 10.0  # deviation of the log of a device's overall speed: uninformative
POOL, TARGETS = 700, 400  # networks to choose from, and networks whose error is reduced
FAST_SHARE = 0.12  # share of networks that may be at a floor, where a time is less informative
FAST_NOISE = 3.0  # largest factor of the variance of these networks' measurements
MEAN_OF_NORMAL = 0.7979  # mean absolute value of a standard normal variable
GOAL = 0.08  # expected mean relative error at which the measurements are sufficient
LEAST = 10  # fewest measurements on a space without measured devices
SPEED_KINDS = ("throughput", "latency")


@dataclass(frozen=True)
class Prior:
    """A Gaussian prior on the weights of features.

    features    features of the space.
    deviations  standard deviation of each weight, [features].
    noise       standard deviation of a measurement of the log time.
    """

    features: Features
    deviations: np.ndarray
    noise: float

    def scaled(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected log time up to a constant, [n], and features times deviations.

        The shape of the latter is [n, features].
        """
        mean, features = self.features.of(genotypes)
        return mean, features * self.deviations


def prior_from(features: Features, learned: Mapping[str, float]) -> Prior:
    """Return a prior from learned deviations.

    learned  group of `GROUPS`, or "noise" -> standard deviation.
    """
    groups = [*(learned[name] for name in GROUPS[:-1]), CONSTANT]
    return Prior(features, np.array(groups)[features.groups], learned["noise"])


def sources_for(
    space: SearchSpace, devices: Mapping[str, MeasuredDevice]
) -> dict[tuple[str, str], StageTimes]:
    """Return (device, kind) -> model of all devices that were measured on the space."""
    found: dict[tuple[str, str], StageTimes] = {}
    for name, device in devices.items():
        try:
            device.check(space)
        except ValueError:
            continue
        found |= {(name, k): model for k, model in device.models.items() if k in SPEED_KINDS}
    return found


@functools.cache
def learned_deviations() -> dict[str, dict[str, float]]:
    """Return the deviations with measured devices as sources ("measured") and without ("costs")."""
    return json.loads(resources.files("nas.devices").joinpath(FILE).read_text())


@functools.lru_cache(maxsize=4)
def prior_of(space: SearchSpace) -> Prior:
    """Return the prior for a new device; raises ValueError for a space without stages."""
    features = Features(space, list(sources_for(space, measured_devices()).values()))
    return prior_from(features, learned_deviations()["measured" if features.measured else "costs"])


@dataclass(frozen=True)
class Plan:
    """Networks to measure in order, and the expected errors.

    genotypes  networks, int8 [count, decisions].
    errors     expected mean relative error over the space after each measurement, [count].
    """

    genotypes: np.ndarray
    errors: np.ndarray


def plan(
    prior: Prior,
    count: int,
    pool: np.ndarray,
    targets: np.ndarray,
    measured: np.ndarray | None = None,
) -> Plan:
    """Choose `count` networks of `pool` that reduce the expected variance of `targets` greedily.

    pool      networks to choose from, int8 [n, decisions].
    targets   networks whose variance is reduced, int8 [n, decisions].
    measured  networks that were already measured, int8 [n, decisions]; None: none.
    """
    known = pool[:0] if measured is None else measured
    mean, left = prior.scaled(np.concatenate([known, pool]))
    expected, right = prior.scaled(targets)
    fast = np.quantile(expected, FAST_SHARE)
    worth = 1 / (1 + np.exp(6 * (fast - expected)))
    noise = prior.noise**2 * np.minimum((1 + np.exp(6 * (fast - mean))) ** 2, FAST_NOISE)
    inner, cross = left @ left.T, left @ right.T
    variance = (right**2).sum(1)
    free = np.ones(len(left), bool)
    free[: len(known)] = False
    chosen, errors = [], []
    for step in range(len(known) + count):
        gain = (cross * worth) ** 2
        best = (
            step
            if step < len(known)
            else int(np.argmax(np.where(free, gain.sum(1) / (np.diag(inner) + noise), -1.0)))
        )
        column, total = inner[:, best].copy(), inner[best, best] + noise[best]
        variance = variance - cross[best] ** 2 / total
        cross -= np.outer(column, cross[best]) / total
        inner -= np.outer(column, column) / total
        free[best] = False
        if step >= len(known):
            chosen.append(best)
            deviation = np.sqrt(np.maximum(variance, 0) + prior.noise**2)
            errors.append(MEAN_OF_NORMAL * deviation.mean())
    return Plan(np.concatenate([known, pool])[chosen], np.array(errors))


def design(space: SearchSpace, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return networks to measure on a new device, most useful first, int8 [count, decisions].

    count  number of networks, from 1 to 200.
    rng    source of the networks to choose from.

    Raises ValueError for a space without stages, and for more networks than the space offers.
    """
    check_is_space(space)
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not (whole and 1 <= count <= MOST):
        raise ValueError(f"count: {quoted(count)} is not allowed; use a number from 1 to {MOST}")
    prior, pool = prior_of(space), np.unique(space.sample(POOL, rng), axis=0)
    if count > len(pool):
        raise ValueError(f"count: the space {quoted(space.name)} has only {len(pool)} networks")
    return plan(prior, count, pool, space.sample(TARGETS, rng)).genotypes


@functools.lru_cache(maxsize=4)
def measurements_needed(space: SearchSpace, error: float = GOAL) -> int:
    """Return the number of designed measurements for an expected mean relative error of `error`.

    At least `LEAST` on a space without measured devices, because the prior was learned on another
    space; at most `MOST`, even if they do not suffice.
    """
    check_is_space(space)
    if isinstance(error, bool) or not isinstance(error, int | float) or not error > 0:
        raise ValueError(f"error: {quoted(error, 40)} is not allowed; use a share above 0")
    rng, prior = np.random.default_rng(0), prior_of(space)
    pool = np.unique(space.sample(POOL, rng), axis=0)
    most = min(MOST, len(pool))
    errors = plan(prior, most, pool, space.sample(TARGETS, rng)).errors
    enough = int(np.argmax(errors <= error)) + 1 if (errors <= error).any() else most
    return enough if prior.features.measured else max(enough, min(LEAST, most))
