"""Costs on devices that a search names by --on, as functions for its space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.devices import Device
from search_spaces.cost import cost_on
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    pass

# the cost that a kind of prediction gives: its name, and whether it is 1 / value
COSTS = {"latency": ("latency", False), "throughput": ("image_time", True)}


@dataclass(frozen=True)
class DeviceCost:
    """A cost on a device: call it with genotypes [n, decisions] for the costs, float64 [n].

    kind  of `Device.predict`.
    """

    device: Device
    kind: str
    space: SearchSpace

    @property
    def name(self) -> str:
        """The cost's name: latency@zcu102."""
        return cost_on(COSTS[self.kind][0], self.device.name)

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        return self._predicted(genotypes)[0]

    def error(self, genotypes: np.ndarray) -> np.ndarray:
        """Standard deviations of the costs, float64 [n]."""
        return self._predicted(genotypes)[1]

    def _predicted(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, errors = self.device.predict(self.space, genotypes, kind=self.kind)
        return (1 / values, errors / values**2) if COSTS[self.kind][1] else (values, errors)
