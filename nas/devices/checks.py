"""Checks of measured networks and their times before a device is fitted to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.devices.measured import measured_devices
from nas.devices.names import DEVICES, FEWEST, NAME
from nas.devices.prior import GOAL, Prior, measurements_needed, sources_for
from search_spaces.space import SearchSpace
from vbs.text import counted, quoted

MOST_MEASURED = 500  # networks; the time of a fit grows with the cube of their number
SHORTEST, LONGEST = 1e-9, 1e6  # plausible seconds of a run
# a unit is likely wrong if times differ from those on every measured device by these factors
SLOWER, FASTER = 1_000, 30
FASTER_ALONE = 3  # FASTER for batch 1, because the measured throughputs have larger batches
APART = 100  # a unit is likely wrong if the time per FLOP of a network differs by this factor
ALIKE = 0.01  # least relative range of the times of different networks


def check_name(name: str) -> None:
    """Raise ValueError for a name that is not allowed in costs and files, or already in use.

    The names of the measured devices are in use.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"name: {quoted(name, 60)} is not allowed; use up to 60 letters, digits, '-', '_' and "
            "'.'"
        )
    if name in DEVICES:
        raise ValueError(f"name: {name} is a measured device; use another name")


def checked_seconds(
    space: SearchSpace, genotypes: np.ndarray, seconds: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return the times as float64 [n].

    Raises ValueError for missing, zero, negative, constant and implausible times, for fewer than
    `FEWEST` different networks, and for more than `MOST_MEASURED`.
    """
    try:
        given = list(seconds)
        if any(isinstance(each, str | bytes | bool | complex) for each in given):
            raise TypeError
        times = np.array([np.nan if each is None else each for each in given], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("seconds: use one number for each network") from None
    if times.shape != (len(genotypes),):
        raise ValueError(
            f"seconds: {counted(len(times), 'time')} for {counted(len(genotypes), 'network')}; "
            "use one for each network"
        )
    for row, value in enumerate(times, 1):
        if not np.isfinite(value):
            raise ValueError(f"seconds: the time of network {row} is missing")
        if value <= 0:
            raise ValueError(f"seconds: network {row} has {value:g}; use seconds above 0")
        if not SHORTEST <= value <= LONGEST:
            raise ValueError(
                f"seconds: network {row} has {value:g}; use seconds from {SHORTEST:g} to "
                f"{LONGEST:,.0f}"
            )
    if len(times) > MOST_MEASURED:
        raise ValueError(
            f"networks: {counted(len(times), 'network')} are too many; use up to {MOST_MEASURED}"
        )
    different = len(np.unique(space.canonical(genotypes), axis=0))
    if different < FEWEST:
        raise ValueError(
            f"networks: the times of {counted(different, 'different network')} are too few; "
            f"measure at least {FEWEST}"
        )
    if np.ptp(np.log(times)) < ALIKE:
        raise ValueError(
            f"seconds: all networks take about {times.mean():.3g} s; the measured time does not "
            "depend on the network; measure only its forward pass"
        )
    return times


def check_count(space: SearchSpace, prior: Prior, genotypes: np.ndarray) -> None:
    """Raise ValueError for too few measurements on a space without measured devices."""
    if prior.features.measured:
        return
    needed = measurements_needed(space)
    different = len(np.unique(space.canonical(genotypes), axis=0))
    if different < needed:
        raise ValueError(
            f"networks: {counted(different, 'different network')} are too few for an expected "
            f"error of {GOAL:.0%} on the space {quoted(space.name)}, which has no measured "
            f"devices; measure at least {needed}"
        )


def check_unit(
    space: SearchSpace, genotypes: np.ndarray, log_seconds: np.ndarray, *, batch: int
) -> None:
    """Raise ValueError if times are likely in another unit.

    A unit is likely wrong if all measured devices, or the other networks, are faster or slower by a
    large factor.
    """
    faster = FASTER_ALONE if batch == 1 else FASTER
    factors = []
    for device, kind in sources_for(space, measured_devices()):
        value, _ = measured_devices()[device].predict(space, genotypes, kind)
        known = -np.log(value) if kind == "throughput" else np.log(value)
        factors.append(float(np.median(log_seconds - known)))
    if factors and min(factors) > np.log(SLOWER):
        raise ValueError(
            f"seconds: an image takes at least {np.exp(min(factors)):,.0f} times as long as on "
            "every measured device; are the times milliseconds? any_unit=True accepts them"
        )
    if factors and max(factors) < -np.log(faster):
        raise ValueError(
            f"seconds: an image takes at most 1/{np.exp(-max(factors)):,.0f} of its time on every "
            "measured device; are the times in another unit? any_unit=True accepts them"
        )
    relative = log_seconds - np.log(space.costs(genotypes).flops)
    relative -= np.median(relative)
    row = int(np.abs(relative).argmax())
    if abs(relative[row]) > np.log(APART):
        times = f"{np.exp(abs(relative[row])):,.0f} times as"
        raise ValueError(
            f"seconds: network {row + 1} is {times} {'slow' if relative[row] > 0 else 'fast'} for "
            "its FLOPs as the others; is its time in another unit? any_unit=True accepts it"
        )
