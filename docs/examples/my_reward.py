"""A reward of your own: two points of accuracy are worth half of the FLOPs.

vbs search --target-flops 400M --reward my_reward.py:frugal --budget 2000
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def frugal(accuracy: np.ndarray, costs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the rewards [n] of networks with accuracies [n] in percent and costs {name: [n]}."""
    return accuracy - 2.0 * np.log2(costs["flops"] / 400e6)
