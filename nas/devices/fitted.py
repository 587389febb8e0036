"""Times of the networks of a space on this machine, predicted from a few measured networks.

A table of block times requires a run of every block of a space. The space of a parent's
sub-networks has thousands of blocks, because input sides differ. This module instead measures a few
whole networks, which `nas.devices.prior` chooses, and fits the times per unit of operations,
activations, weights and layers (*prices*) to them. The error is estimated by predicting each
measured network from the others.
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

NAME = "here"  # name of the device
NETWORKS = 24  # measured networks
PENALTY = 0.01  # ridge penalty on the share of the time that each price explains
GOOD = 0.1  # largest mean relative error without a warning
Say = Callable[[str], None]


@dataclass(frozen=True)
class FittedTimes:
    """Times of networks of a space, predicted from measured networks.

    kind       "latency" or "step_time", in seconds.
    device     the measured networks and their times.
    prices     seconds per unit of each sum of `nas.devices.features.weigh`, float64 [sums].
    error      mean relative error when each measured network is predicted from the others.
    deviation  root mean square of the same relative errors.
    """

    kind: str
    device: OwnDevice
    prices: np.ndarray
    error: float
    deviation: float

    def of(self, space: SearchSpace) -> FittedCost:
        """Return the cost for `space.measured_by`; raises ValueError for another space."""
        self.device.check(space)
        return FittedCost(_tables(space), self.prices, self.deviation)

    @property
    def digest(self) -> str:
        """64 hex digits that identify the measurements, and so the predictions."""
        return self.device.digest

    def write(self, path: Path) -> None:
        """Write the measured networks and times to a file atomically."""
        self.device.save(path)


@dataclass(frozen=True)
class FittedCost:
    """Function from genotypes [n, decisions] to predicted seconds, float64 [n]."""

    tables: Tables
    prices: np.ndarray
    deviation: float

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        return self.tables.sums(genotypes) @ self.prices

    def error(self, genotypes: np.ndarray) -> np.ndarray:
        """Return the standard deviations of the predictions in seconds, float64 [n]."""
        return self(genotypes) * self.deviation


def fitted_prices(sums: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return prices in seconds per unit, float64 [m], none below 0.

    sums     sums of each network, [n, m].
    seconds  times of the networks, [n].

    The fit minimises squared relative errors, with a small ridge penalty on the share of the time
    that each sum explains.
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
    """Return times of the networks of a space of stages, from a file, the cache, or measurements.

    kind  "latency" or "step_time".
    path  file that `FittedTimes.write` wrote; None: the cache, or new measurements.
    say   function that prints a line on the measurement and one on the error; None: stderr.
    how   settings, as for `nas.block_times.lookup.times_for`.

    Raises ValueError if the file has no times of this space, and for invalid settings.
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
            (say or print_err)(f"times: {place} cannot be written ({error.strerror}); not cached")
    else:
        device = read_own(path)
        device.check(space)
        found = _fitted(kind, device, space)
    (say or _once)(_trust(found))
    return found


def measure(space: SearchSpace, setting: Setting, *, say: Say) -> OwnDevice:
    """Measure `NETWORKS` networks of a space, or all networks of a smaller one, in rounds."""
    genotypes = _chosen(space)
    say(
        f"times: measuring the {setting.kind} of {counted(len(genotypes), 'network')} by "
        f"{setting.runtime}; times of other networks are predicted"
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
    """Return the networks to measure, int8 [n, decisions].

    The first is the largest, because users compare with its time.
    """
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
    """Print a line only once, because a search reads its times several times."""
    print_err(line)


def _trust(times: FittedTimes) -> str:
    """Return a line on the error of predicted times."""
    count = len(times.device.seconds)
    line = (
        f"{times.kind}: predicted from {counted(count, 'measured network')}; mean error "
        f"{times.error:.1%} when each is predicted from the others"
    )
    if times.error <= GOOD:
        return f"times: {line}"
    return f"times: warning: {line}; measure again while the machine is idle"
