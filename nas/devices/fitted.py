"""Times of the networks of a space on this machine, predicted from few measured ones.

A table of block times needs every block of a space to be run: thousands in the space of a parent's
sub-networks, which differ in their input side. Here some whole networks are run, chosen as for
a device of one's own (`nas.devices.prior`). From them come prices of operations, activations,
weights and layers, by which the others are predicted, with the error that is found when each of
the measured ones is predicted from the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.block_times.lookup import kept_path, setting_of
from nas.block_times.options import TimingOptions
from nas.block_times.table import decoded
from nas.block_times.whole import measured
from nas.devices.features import weigh
from nas.devices.own import FORMAT, OwnDevice, read_own
from nas.devices.prediction import check_is_space
from nas.devices.prior import POOL, design
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace, Tables
from vbs.console import print_err
from vbs.text import counted, quoted

if TYPE_CHECKING:
    from nas.block_times.timing import Setting

NAME = "here"  # of the device
NETWORKS = 24  # that are measured
PENALTY = 0.01  # of a price whose sum would take the whole time
GOOD = 0.1  # mean relative error; above it, a warning
Say = Callable[[str], None]


@dataclass(frozen=True)
class FittedTimes:
    """Times of networks of a space, predicted from measured ones.

    kind       "latency" or "step_time", in seconds.
    device     the measured networks and their times.
    prices     seconds of a unit of each sum of `nas.devices.features.weigh`, float64 [sums].
    error      mean relative error of each measured network predicted from the others.
    deviation  root mean square of the same errors.
    """

    kind: str
    device: OwnDevice
    prices: np.ndarray
    error: float
    deviation: float

    def of(self, space: SearchSpace) -> FittedCost:
        """The cost for `space.measured_by`; ValueError for a space that was not measured."""
        self.device.check(space)
        return FittedCost(_tables(space), self.prices, self.deviation)

    @property
    def digest(self) -> str:
        """64 hex digits of all that predictions depend on."""
        return self.device.digest

    def write(self, path: Path) -> None:
        """The measured networks and times as a file, atomically."""
        self.device.save(path)


@dataclass(frozen=True)
class FittedCost:
    """Genotypes [n, decisions] -> predicted seconds, float64 [n]."""

    tables: Tables
    prices: np.ndarray
    deviation: float

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        return self.tables.sums(genotypes) @ self.prices

    def error(self, genotypes: np.ndarray) -> np.ndarray:
        """Standard deviations of a measurement of these networks, float64 [n]."""
        return self(genotypes) * self.deviation


def fitted_prices(sums: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Prices float64 [m], none below 0, of sums [n, m] by the seconds [n] of n networks.

    Least squares of relative errors, with a small penalty on the seconds that each sum is given.
    """
    from scipy.optimize import nnls

    shares = sums / seconds[:, None]
    scale = np.where(shares.mean(0) > 0, shares.mean(0), np.inf)
    penalty = np.sqrt(PENALTY * len(seconds)) * np.eye(sums.shape[1])
    rows = np.concatenate([shares / scale, penalty])
    found, _ = nnls(rows, np.concatenate([np.ones(len(seconds)), np.zeros(sums.shape[1])]))
    return found / scale


def _tables(space: SearchSpace) -> Tables:
    check_is_space(space)
    if not isinstance(space, StagedSpace):
        raise ValueError(f"times: the space {quoted(space.name)} is not made of stages")
    return space.tabulated(weigh)


def fitted_times(
    space: SearchSpace,
    *,
    kind: str,
    path: Path | None = None,
    say: Say | None = None,
    **how: Any,
) -> FittedTimes:
    """Times of the networks of a space of stages: from a file, known from before, or measured.

    kind  "latency" or "step_time".
    path  a file that `FittedTimes.write` wrote.
    say   gets a line on what is measured, and one on the error, once each; stderr by default.
    how   as of `nas.block_times.lookup.times_for`.

    Raises ValueError where the file holds no such times, and for settings that cannot be.
    """
    setting = setting_of(TimingOptions(kind=kind, **how))
    place = kept_path(setting, FORMAT, [space.name, dict(space.settings), NETWORKS])
    if path is None and place.is_file():
        path = place
    if path is None:
        found = _fitted(kind, measure(space, setting, say=say or print_err), space)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            found.write(place)
        except OSError as error:
            (say or print_err)(f"times: {place} cannot be written ({error.strerror}); not kept")
    else:
        device = read_own(path)
        device.check(space)
        found = _fitted(kind, device, space)
    (say or _once)(_trust(found))
    return found


def measure(space: SearchSpace, setting: Setting, *, say: Say) -> OwnDevice:
    """Run `NETWORKS` networks of a space, or all of a smaller one, in turn."""
    genotypes = _chosen(space)
    say(
        f"times: measuring the {setting.kind} of {counted(len(genotypes), 'network')} by "
        f"{setting.runtime}; those of others are predicted"
    )
    times = measured([decoded(space, each) for each in genotypes], setting, report=say)
    doubt = next((each.doubt for each in times if each.doubt), "")
    if doubt:
        say(f"times: warning: the machine is busy ({doubt})")
    return OwnDevice(
        name=NAME,
        space=space.name,
        settings=dict(space.settings),
        batch=setting.batch,
        networks=[space.choices_of(each) for each in genotypes],
        seconds=[each.seconds for each in times],
    )


def _chosen(space: SearchSpace) -> np.ndarray:
    """The networks that are measured, int8 [n, decisions]; the first is the largest, whose time
    users compare with."""
    largest = np.zeros((1, len(space.choices)), np.int8)
    distinct = len(np.unique(space.sample(POOL, np.random.default_rng(0)), axis=0))
    others = design(space, min(NETWORKS - 1, distinct), np.random.default_rng(0))
    return np.concatenate([largest, others[(others != largest).any(1)]])


def _fitted(kind: str, device: OwnDevice, space: SearchSpace) -> FittedTimes:
    genotypes = np.stack([space.encode(network) for network in device.networks])
    sums, seconds = _tables(space).sums(genotypes), np.array(device.seconds)
    missed = []
    for index in range(len(seconds)):
        others = np.arange(len(seconds)) != index
        prices = fitted_prices(sums[others], seconds[others])
        missed.append(float(sums[index] @ prices / seconds[index]) - 1)
    return FittedTimes(
        kind,
        device,
        fitted_prices(sums, seconds),
        float(np.abs(missed).mean()),
        float(np.sqrt(np.square(missed).mean())),
    )


@functools.cache
def _once(line: str) -> None:
    """Print it once: a search uses its times several times."""
    print_err(line)


def _trust(times: FittedTimes) -> str:
    """A line on how far predicted times can be trusted."""
    count = len(times.device.seconds)
    line = (
        f"{times.kind}: predicted from {counted(count, 'measured network')}, each of which is "
        f"{times.error:.1%} off on average when predicted from the others"
    )
    if times.error <= GOOD:
        return f"times: {line}"
    return f"times: warning: {line}; measure again while the machine does nothing else"
