"""Costs on the devices of --on as functions of genotypes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.devices import Device, OwnDevice, load_device
from nas.objective import Objective
from nas.search.targets import ObjectiveOptions
from search_spaces.cost import cost_on
from search_spaces.space import SearchSpace

# kind of prediction -> name of the cost, and whether the cost is 1 / prediction
COSTS = {
    "latency": ("latency", False),
    "throughput": ("image_time", True),
    "train_time": ("train_time", False),
}


@dataclass(frozen=True)
class DeviceCost:
    """A cost on a device: a function of genotypes [n, decisions] that returns float64 [n].

    kind  kind of prediction, see `Device.predict`.
    """

    device: Device
    kind: str
    space: SearchSpace

    @property
    def name(self) -> str:
        """Name of the cost, such as latency@zcu102."""
        cost, _ = COSTS[self.kind]
        return cost if self.kind == "train_time" else cost_on(cost, self.device.name)

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        return self._predicted(genotypes)[0]

    def error(self, genotypes: np.ndarray) -> np.ndarray:
        """Return the standard deviations of the costs, float64 [n]."""
        return self._predicted(genotypes)[1]

    def _predicted(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, errors = self.device.predict(self.space, genotypes, kind=self.kind)
        return (1 / values, errors / values**2) if COSTS[self.kind][1] else (values, errors)


def device_costs(
    config: ObjectiveOptions, objective: Objective, space: SearchSpace
) -> dict[str, DeviceCost]:
    """Return the costs on devices of the objective and of the printed tables, by name.

    Tables show the latency on each device of --on, or its throughput if the latency is unknown.
    Raises ValueError if a device cannot predict for the space.
    """
    found = []
    for device in config.devices:
        device.check(space)
        every = [DeviceCost(device, kind, space) for kind in device.kinds]
        needed = [each for each in every if each.name in objective.cost_names]
        shown = [each for each in every if each.kind == "latency"] or every[:1]
        found += needed or shown
    if "train_time" in objective.cost_names:
        device = load_device("train_time")
        device.check(space)
        found.append(DeviceCost(device, "train_time", space))
    return {each.name: each for each in found}


def device_digests(config: ObjectiveOptions) -> dict[str, str]:
    """Return the digests of the devices of --on that are files, by name."""
    return {each.name: each.digest for each in config.devices if isinstance(each, OwnDevice)}
