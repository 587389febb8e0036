"""Rewards of accuracy and cost by name.

A reward is a function of accuracies in percent [n], ratios cost / target [n] and the exponent w. It
returns rewards [n].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Reward = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def mnas(accuracy: np.ndarray, ratio: np.ndarray, exponent: float) -> np.ndarray:
    """Return accuracy x ratio^w: the soft form (Tan et al. 2019, MnasNet, section 3)."""
    return accuracy * ratio**exponent


def mnas_hard(accuracy: np.ndarray, ratio: np.ndarray, exponent: float) -> np.ndarray:
    """Return the accuracy up to the target, accuracy x ratio^w above it (MnasNet's hard form)."""
    return accuracy * ratio.clip(min=1.0) ** exponent


def absolute(accuracy: np.ndarray, ratio: np.ndarray, exponent: float) -> np.ndarray:
    """Return accuracy + 100 w |ratio - 1| (Bender et al. 2020, TuNAS).

    The factor of 100 is not in the paper, where accuracies are from 0 to 1.
    """
    return accuracy + 100.0 * exponent * abs(ratio - 1.0)


def feasible(accuracy: np.ndarray, ratio: np.ndarray, exponent: float) -> np.ndarray:
    """Return the accuracy: the most accurate network within the limits is the best."""
    import numpy as np

    return np.array(accuracy, np.float64)


# reward functions, and their default w
REWARDS: dict[str, tuple[Reward, float]] = {
    "mnas": (mnas, -0.07),
    "mnas-hard": (mnas_hard, -1.0),
    "absolute": (absolute, -0.07),
    "feasible": (feasible, 0.0),
}
