"""What measured networks and their times are checked for before a device is fitted to them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from nas.devices.measured import DEVICES, measured_devices
from nas.devices.prior import GOAL, Prior, measurements_needed, sources_for
from search_spaces.space import SearchSpace
from vbs.text import counted, quoted

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")  # costs are named after devices
FEWEST, MOST_MEASURED = 5, 500  # networks; the time of a fit grows with their cube
SHORTEST, LONGEST = 1e-9, 1e6  # seconds of a run; others are of no device
# factors from every measured device at which a mistaken unit is likely
SLOWER, FASTER = 1_000, 30
FASTER_ALONE = 3  # with one image at a time, which the measured throughputs do not have
APART = 100  # factor between networks, for their FLOPs, at which one is likely of another unit
ALIKE = 0.01  # relative range of the times of different networks that tells them apart


def check_name(name: str) -> None:
    """Raise ValueError for a name that cannot stand in the names of costs and files, and for that
    of a measured device."""
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
    """The times as float64 [n].

    Raises ValueError for missing, zero, negative, constant and impossible times, for fewer than
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
            "give one for each"
        )
    for row, value in enumerate(times, 1):
        if not np.isfinite(value):
            raise ValueError(f"seconds: the time of network {row} is missing")
        if value <= 0:
            raise ValueError(f"seconds: network {row} has {value:g}; use seconds above 0")
        if not SHORTEST <= value <= LONGEST:
            raise ValueError(
                f"seconds: network {row} has {value:g}; no network takes less than {SHORTEST:g} s "
                f"or more than {LONGEST:,.0f} s"
            )
    if len(times) > MOST_MEASURED:
        raise ValueError(
            f"networks: {counted(len(times), 'network')} are too many; use up to {MOST_MEASURED}"
        )
    different = len(np.unique(space.canonical(genotypes), axis=0))
    if different < FEWEST:
        raise ValueError(
            f"networks: {counted(different, 'different network')} with a time; "
            f"measure at least {FEWEST}"
        )
    if np.ptp(np.log(times)) < ALIKE:
        raise ValueError(
            f"seconds: all networks take about {times.mean():.3g} s; something else than the "
            "network is measured"
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
            f"networks: no device was measured on the space {quoted(space.name)} before, so "
            f"{counted(different, 'different network')} are too few for an expected error of "
            f"{GOAL:.0%}; measure at least {needed}"
        )


def check_unit(
    space: SearchSpace, genotypes: np.ndarray, log_seconds: np.ndarray, *, batch: int
) -> None:
    """Raise ValueError where every measured device, or the other networks, are so much faster or
    slower that times are likely of another unit."""
    faster = FASTER_ALONE if batch == 1 else FASTER
    factors = []
    for device, kind in sources_for(space, measured_devices()):
        value, _ = measured_devices()[device].predict(space, genotypes, kind)
        known = -np.log(value) if kind == "throughput" else np.log(value)
        factors.append(float(np.median(log_seconds - known)))
    if factors and min(factors) > np.log(SLOWER):
        raise ValueError(
            f"seconds: an image takes at least {np.exp(min(factors)):,.0f} times as long as on "
            "every measured device; are these milliseconds? any_unit=True accepts them"
        )
    if factors and max(factors) < -np.log(faster):
        raise ValueError(
            f"seconds: an image takes at most 1/{np.exp(-max(factors)):,.0f} of its time on every "
            "measured device; are these times of another unit? any_unit=True accepts them"
        )
    relative = log_seconds - np.log(space.costs(genotypes).flops)
    relative -= np.median(relative)
    row = int(np.abs(relative).argmax())
    if abs(relative[row]) > np.log(APART):
        times = f"{np.exp(abs(relative[row])):,.0f} times as"
        raise ValueError(
            f"seconds: network {row + 1} is {times} {'slow' if relative[row] > 0 else 'fast'} for "
            "its FLOPs as the others; is its time of another unit? any_unit=True accepts it"
        )
