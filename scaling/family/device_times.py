"""Times of members on a device that was measured on networks of one search space.

Members are seldom networks of that space. Their times are extrapolated from totals: a constant,
FLOPs, activations and parameters, with nonnegative weights fitted to the device's predictions for
networks of the measured space. With the weights of the RTX 3090, the times of EfficientNet-B1 to B7
relative to B0 are within 3% of timm's report for an RTX 4090. The times of FPGAs are not a function
of totals: the error of the fit is 25% or more, and these devices are refused.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.devices import Device, load_device
from scaling.family.config import OBJECTIVES, FamilyConfig
from scaling.family.members import Member
from search_spaces.architecture import Architecture
from search_spaces.catalog import SIZES, SPACES
from search_spaces.catalog import space as space_named
from search_spaces.cost import cost
from search_spaces.space import SearchSpace
from vbs.text import quoted

SAMPLE = 2000  # networks for the fit of the weights
OPS_FROM = 50  # networks of the sample from which the operations are collected
MOST_ERROR = 0.15  # largest mean relative error of the fit for which times are extrapolated


@dataclass(frozen=True)
class DeviceTimes:
    """Times of networks on a device, extrapolated from their totals.

    name     name of the device.
    weights  weights of a constant, FLOPs, activations and parameters, [4].
    error    mean relative error on the device's own networks.
    scope    description of the networks that were measured.
    ops      operations of their stages.
    """

    name: str
    weights: np.ndarray
    error: float
    scope: str
    ops: frozenset[str]

    def __call__(self, networks: Sequence[Architecture]) -> list[float]:
        """Return the seconds per image of each network; for `train_time`, those of training."""
        return (totals(networks) @ self.weights).tolist()

    def check(self, base: Architecture, name: str) -> None:
        """Raise ValueError if the base has stages with operations that were not measured."""
        others = sorted({stage.op for stage in base.stages} - self.ops)
        if others:
            raise ValueError(
                f"objective: {self.name} was measured on {self.scope}, which are made of "
                f"{', '.join(sorted(self.ops))}; {name} has stages of {', '.join(others)}"
            )


def totals(networks: Sequence[Architecture]) -> np.ndarray:
    """Return the columns [n, 4] on which times depend linearly."""
    found = [cost(each) for each in networks]
    return np.array([(1.0, each.flops, each.activations, each.params) for each in found])


@functools.cache
def device_times(name_or_file: str) -> DeviceTimes:
    """Return the times of a device, given its name or file.

    Raises ValueError for an unknown device, for one whose times do not follow totals, and for one
    that was measured on a user's own space.
    """
    from scipy.optimize import nnls

    device = load_device(name_or_file)
    space = _space_of(device)
    genotypes = space.sample(SAMPLE, np.random.default_rng(0))
    kind = device.kinds[0]
    values, _ = device.predict(space, genotypes, kind)
    seconds = 1 / values if kind == "throughput" else values
    own = space.costs(genotypes)
    columns = np.stack([np.ones(SAMPLE), own.flops, own.activations, own.params], axis=1)
    scale = columns.mean(0)
    weights, _ = nnls(columns / scale / seconds[:, None], np.ones(SAMPLE))
    weights = weights / scale
    error = float(np.abs(columns @ weights / seconds - 1).mean())
    settings = ", ".join(f"{key} {value}" for key, value in device.settings.items())
    scope = f"networks of the space {device.space} ({settings})"
    if error > MOST_ERROR:
        raise ValueError(
            f"objective: {device.name} was measured on {scope}, not on members of families; FLOPs, "
            f"activations and params predict its times with an error of {error:.0%}, which is too "
            "large to extrapolate"
        )
    ops = frozenset(
        stage.op for genotype in genotypes[:OPS_FROM] for stage in space.decode(genotype).stages
    )
    return DeviceTimes(device.name, weights, error, scope, ops)


def _space_of(device: Device) -> SearchSpace:
    """Return the space that a device was measured on, by name; files must not run code."""
    if device.space not in SPACES:
        raise ValueError(
            f"objective: {device.name} was measured on the space {quoted(device.space, 60)}; use a "
            f"device that was measured on {', '.join(SPACES)}"
        )
    unknown = sorted(set(device.settings) - set(SIZES))
    if unknown:
        raise ValueError(
            f"objective: {device.name} was measured with the setting {quoted(unknown[0], 60)}, "
            f"which space {device.space} does not have; its settings are {', '.join(SIZES)}"
        )
    return space_named(device.space, **device.settings)


def add_device_times(
    base: Architecture,
    members: Sequence[Member],
    rows: Sequence[dict[str, Any]],
    device: DeviceTimes,
) -> None:
    """Add the members' times on the device, and their ratio to the base's time, to the rows."""
    own, *times = device([base, *(member.architecture for member in members)])
    for row, seconds in zip(rows, times, strict=True):
        row[f"time_on_{device.name}"] = {
            "seconds": seconds,
            "spread": 2 * device.error * seconds,
            "growth": round(seconds / own, 4),
        }


def time_notes(config: FamilyConfig) -> list[str]:
    """Return a note on how times on a device were obtained; [] if there are none."""
    if config.objective in OBJECTIVES:
        return []
    device = device_times(config.objective)
    return [
        f"time on {device.name}: it was measured on {device.scope}; others are extrapolated from "
        f"FLOPs, activations and params, with a mean error of {device.error:.0%}"
    ]
