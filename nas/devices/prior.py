"""What to expect of a device that nobody measured, and which networks to measure on it.

The deviations of the prior were learned by `experiments.leave_one_device_out` from how the
measured devices differ from each other. The networks are chosen one after the other: each is the
one that reduces the expected error over the space the most.
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
from nas.devices.prediction import check_is_space
from nas.devices.stage_times import StageTimes
from search_spaces.space import SearchSpace
from vbs.text import quoted

FILE = "prior.json"
CONSTANT = 10.0  # deviation of the log of a device's speed as a whole: it says nothing
POOL, TARGETS = 700, 400  # networks to choose from, and to be certain about
FAST_SHARE = 0.12  # of the networks may lie at a floor, where a time says little ...
FAST_NOISE = 3.0  # ... so that its variance counts up to this many times
MEAN_OF_NORMAL = 0.7979  # mean absolute value of a standard normal variable
GOAL = 0.08  # mean relative error that measurements are enough for
LEAST = 10  # measurements on a space without measured devices, whatever is expected of them
MOST = 200  # measurements that a design is looked for with
SPEED_KINDS = ("throughput", "latency")


@dataclass(frozen=True)
class Prior:
    """A Gaussian prior on the features' weights.

    features    of the space.
    deviations  of each feature's weight, [features].
    noise       standard deviation of a measurement of the log time.
    """

    features: Features
    deviations: np.ndarray
    noise: float

    def scaled(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected log time [n] up to a constant, and features times deviations [n, features]."""
        mean, features = self.features.of(genotypes)
        return mean, features * self.deviations


def prior_from(features: Features, learned: Mapping[str, float]) -> Prior:
    """A prior from the deviation of each group of `GROUPS`, and of the noise."""
    groups = [*(learned[name] for name in GROUPS[:-1]), CONSTANT]
    return Prior(features, np.array(groups)[features.groups], learned["noise"])


def sources_for(
    space: SearchSpace, devices: Mapping[str, MeasuredDevice]
) -> dict[tuple[str, str], StageTimes]:
    """(device, kind) -> model, of all devices that were measured on the space."""
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
    """As shipped: with measured devices as sources ("measured"), and without ("costs")."""
    return json.loads(resources.files("nas.devices").joinpath(FILE).read_text())


@functools.lru_cache(maxsize=4)
def prior_of(space: SearchSpace) -> Prior:
    """The prior for a new device on the space; ValueError for a space that has no stages."""
    features = Features(space, list(sources_for(space, measured_devices()).values()))
    return prior_from(features, learned_deviations()["measured" if features.measured else "costs"])


@dataclass(frozen=True)
class Plan:
    """Networks in the order they are to be measured, and what is expected of them.

    genotypes  int8 [count, decisions].
    errors     expected mean relative error over the space after each, [count].
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
    """Greedy reduction of the expected variance of `targets` by `count` networks of `pool`.

    measured  genotypes that were measured before, int8 [n, decisions].
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
    """Networks to measure on a new device, most useful first, int8 [count, decisions].

    Raises ValueError for a space that has no stages, and for more networks than are chosen from.
    """
    check_is_space(space)
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not (whole and 1 <= count <= MOST):
        raise ValueError(f"count: {quoted(count)} is not allowed; use a number from 1 to {MOST}")
    prior, pool = prior_of(space), np.unique(space.sample(POOL, rng), axis=0)
    if count > len(pool):
        raise ValueError(f"count: the space {quoted(space.name)} has {len(pool)} networks only")
    return plan(prior, count, pool, space.sample(TARGETS, rng)).genotypes


@functools.lru_cache(maxsize=4)
def measurements_needed(space: SearchSpace, error: float = GOAL) -> int:
    """Designed measurements after which the expected mean relative error is at most `error`.

    At least `LEAST` on a space without measured devices, as the prior was learned on another one;
    at most `MOST`, also where that many do not suffice.
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
