"""Times of members on a device that was measured on the networks of one space.

A device answers for networks of its space, and members are seldom among them. Their times are
extrapolated from totals: a constant, FLOPs, activations and parameters, with weights of at least 0
that are fitted to what the device says about its own networks. What EfficientNet-B1 to B7 take over
B0 by the totals of the RTX 3090 is within 3% of what timm reports of an RTX 4090. FPGAs do not
follow totals: there the fit misses by a quarter and more, and is refused.
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

SAMPLE = 2000  # networks that the weights are fitted to
OPS_FROM = 50  # of them, whose stages tell the operations
MOST_ERROR = 0.15  # mean relative error of the fit that members' times may be extrapolated by


@dataclass(frozen=True)
class DeviceTimes:
    """Seconds of networks on a device by their totals.

    name     of the device.
    weights  of a constant, FLOPs, activations and parameters, [4].
    error    mean relative error on the device's own networks.
    scope    the networks that it was measured on, in words.
    ops      of their stages.
    """

    name: str
    weights: np.ndarray
    error: float
    scope: str
    ops: frozenset[str]

    def __call__(self, networks: Sequence[Architecture]) -> list[float]:
        """Seconds of one image for each network; of its training, for `train_time`."""
        return (totals(networks) @ self.weights).tolist()

    def check(self, base: Architecture, name: str) -> None:
        """Raise ValueError unless the base is made of the stages that were measured."""
        others = sorted({stage.op for stage in base.stages} - self.ops)
        if others:
            raise ValueError(
                f"objective: {self.name} was measured on {self.scope}, which are made of "
                f"{', '.join(sorted(self.ops))}; {name} has stages of {', '.join(others)}"
            )


def totals(networks: Sequence[Architecture]) -> np.ndarray:
    """The columns [n, 4] that times are linear in."""
    found = [cost(each) for each in networks]
    return np.array([(1.0, each.flops, each.activations, each.params) for each in found])


@functools.cache
def device_times(name_or_file: str) -> DeviceTimes:
    """The times of a device by its name or file.

    Raises ValueError for an unknown device, for one whose times do not follow totals, and for one
    that was measured on a space of the user's own.
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
            f"objective: {device.name} was measured on {scope}, and members of a family are others;"
            f" FLOPs, activations and params miss its times by {error:.0%}, which is too much to "
            "extrapolate from them"
        )
    ops = frozenset(
        stage.op for genotype in genotypes[:OPS_FROM] for stage in space.decode(genotype).stages
    )
    return DeviceTimes(device.name, weights, error, scope, ops)


def _space_of(device: Device) -> SearchSpace:
    """The space that a device was measured on, by name: a device file alone imports no code."""
    if device.space not in SPACES:
        raise ValueError(
            f"objective: {device.name} was measured on the space {quoted(device.space, 60)}; use a "
            f"device that was measured on {', '.join(SPACES)}"
        )
    unknown = sorted(set(device.settings) - set(SIZES))
    if unknown:
        raise ValueError(
            f"objective: {device.name} was measured with the setting {quoted(unknown[0], 60)}, "
            f"which the space {device.space} has not; its settings are {', '.join(SIZES)}"
        )
    return space_named(device.space, **device.settings)


def add_device_times(
    base: Architecture,
    members: Sequence[Member],
    rows: Sequence[dict[str, Any]],
    device: DeviceTimes,
) -> None:
    """The members' times on the device, and how many times the base's they are, into their rows."""
    own, *times = device([base, *(member.architecture for member in members)])
    for row, seconds in zip(rows, times, strict=True):
        row[f"time_on_{device.name}"] = {
            "seconds": seconds,
            "spread": 2 * device.error * seconds,
            "growth": round(seconds / own, 4),
        }


def time_notes(config: FamilyConfig) -> list[str]:
    """How times on a device are known; empty where none are."""
    if config.objective in OBJECTIVES:
        return []
    device = device_times(config.objective)
    return [
        f"time on {device.name}: it was measured on {device.scope}; others are extrapolated from "
        f"FLOPs, activations and params, which miss its times by {device.error:.0%} on average"
    ]
