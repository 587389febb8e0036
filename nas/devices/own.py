"""Your own devices, fitted to about ten networks that you measured on them.

A device file contains the measurements and not the model. The model is fitted again when the file
is read, which takes a few milliseconds. A file from an untrusted source is therefore safe to read:
it contains only networks and times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices.checks import (
    check_count,
    check_name,
    check_unit,
    checked_seconds,
)
from nas.devices.features import CompiledFeatures
from nas.devices.gaussian import (
    Solution,
    bounded,
    covariance_factor,
    infer,
    share_above,
)
from nas.devices.names import FEWEST
from nas.devices.prediction import check_genotypes, check_kind, check_space
from nas.devices.prior import (
    POOL,
    TARGETS,
    Prior,
    plan,
    prior_of,
)
from search_spaces.space import SearchSpace
from vbs.folder import write_json
from vbs.json_text import parse_json
from vbs.text import quoted, shortened

FORMAT = "vision-baseline-search device 1"
LARGEST_FILE = 10_000_000  # bytes
HELD_OUT = 50  # most networks that are predicted from the others
DIRECTIONS = 6  # largest components of the weights' uncertainty; the others count as a constant
MOST_ERROR = 10.0  # largest relative error that messages print as a number
FURTHER = (5, 10, 20, 40)  # numbers of further measurements whose benefit is reported
KEYS = ("format", "name", "space", "settings", "batch", "networks", "seconds")
SIMPLE = (str, int, float, bool)  # values of settings and options


@dataclass(frozen=True)
class LeaveOneOut:
    """Leave-one-out errors: each measured network predicted from the others.

    Of more than `HELD_OUT` networks, `HELD_OUT` evenly spread ones are predicted.

    mean_error    mean relative error.
    median_error  median relative error.
    tau           Kendall's tau of predicted and measured times.
    deviation     root mean square of the log errors.
    of_mean       the same if the prediction is the mean of the other times.
    of_flops      the same if the time is proportional to a power of the FLOPs.
    """

    mean_error: float
    median_error: float
    tau: float
    deviation: float
    of_mean: float
    of_flops: float


@dataclass(frozen=True)
class Model:
    """Fitted model of the log seconds of networks of a space.

    compiled  tables of the mean, and of the `DIRECTIONS` largest components of its uncertainty.
    solution  posterior that the model was computed from.
    rest      mean variance of the mean that these components leave out.
    """

    compiled: CompiledFeatures
    solution: Solution
    rest: float

    def predict(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log seconds and the standard deviation of a measurement, float64 [n] each."""
        mean, out = self.compiled.of(genotypes)
        value = mean + out[:, 0]
        variance = (out[:, 1:] ** 2).sum(1) + self.rest
        slope = 1.0 if self.solution.floor == -np.inf else share_above(value, self.solution.floor)
        deviation = np.sqrt(variance * slope**2 + self.solution.noise**2)
        return bounded(value, self.solution.floor), deviation


@dataclass(frozen=True)
class OwnDevice:
    """A device that was measured on a few networks; predicts as `MeasuredDevice` does.

    name             name in tables and files.
    space, settings  name and settings of the space of the measured networks.
    batch            images per run.
    networks         {decision: option} of each measured network.
    seconds          time of one run of each network.
    leave_one_out    errors of the predictions; None for a device from a file.
    expected         number of further designed measurements -> expected mean relative error; 0:
                     without further ones.
    """

    name: str
    space: str
    settings: Mapping[str, Any]
    batch: int
    networks: Sequence[Mapping[str, Any]]
    seconds: Sequence[float]
    leave_one_out: LeaveOneOut | None = None
    expected: Mapping[int, float] = field(default_factory=dict)
    _models: dict[SearchSpace, Model] = field(default_factory=dict, compare=False, repr=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of prediction: throughput in images/s, latency in seconds of one batch."""
        return ("throughput", "latency")

    def predict(
        self, space: SearchSpace, genotypes: np.ndarray, kind: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions and the standard deviations of single measurements, float64 [n] each.

        genotypes  integer array [n, decisions] of option indices.
        kind       "throughput" (None; images/s) or "latency" (seconds of one batch).

        Raises ValueError for a space that was not measured, an unknown kind, and invalid
        genotypes.
        """
        kind = check_kind(self, kind)
        self.check(space)
        check_genotypes(space, genotypes)
        log_seconds, deviation = self._model(space).predict(genotypes)
        value = np.exp(-log_seconds) if kind == "throughput" else self.batch * np.exp(log_seconds)
        return value, value * deviation

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError unless the device was measured on `space`."""
        check_space(self, space)
        if space not in self._models:
            self._genotypes(space)

    def _genotypes(self, space: SearchSpace) -> np.ndarray:
        """Return the measured networks, int8 [n, decisions].

        Raises ValueError if a network is not in the space, or its time is invalid.
        """
        try:
            found = np.stack([space.encode(network) for network in self.networks])
            checked_seconds(space, found, self.seconds)
            return found
        except ValueError as error:
            raise ValueError(f"device {quoted(self.name)}: {error}") from None

    def _model(self, space: SearchSpace) -> Model:
        if space not in self._models:
            log_seconds = np.log(np.array(self.seconds) / self.batch)
            self._models[space] = fit_model(prior_of(space), self._genotypes(space), log_seconds)
        return self._models[space]

    @property
    def digest(self) -> str:
        """64 hex digits that identify the measurements, and so the predictions."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the device file (JSON) atomically."""
        write_json(Path(path), self._content())

    def _content(self) -> dict[str, Any]:
        """Return the content of the device file."""
        return {
            "format": FORMAT,
            "name": self.name,
            "space": self.space,
            "settings": dict(self.settings),
            "batch": self.batch,
            "networks": [dict(network) for network in self.networks],
            "seconds": list(self.seconds),
        }


def fit_model(prior: Prior, genotypes: np.ndarray, log_seconds: np.ndarray) -> Model:
    """Return the posterior given measured networks.

    genotypes    int8 [n, decisions].
    log_seconds  log of the seconds per image, [n].
    """
    offset = log_seconds.mean()
    mean, scaled = prior.scaled(genotypes)
    solution = infer(scaled, mean, log_seconds - offset, prior.noise)
    weights = prior.deviations * (scaled.T @ solution.alpha)
    weights[-1] += offset
    # keep the directions in which predictions of typical networks are least certain
    factor = covariance_factor(scaled, solution)
    _, typical = prior.scaled(prior.features.space.sample(POOL, np.random.default_rng(0)))
    _, sizes, directions = np.linalg.svd(typical @ factor, full_matrices=False)
    kept = factor @ directions[:DIRECTIONS].T
    rest = float((sizes[DIRECTIONS:] ** 2).sum() / len(typical))
    outputs = np.concatenate([weights[:, None], prior.deviations[:, None] * kept], axis=1)
    shifted = replace(solution, floor=solution.floor + offset)
    return Model(prior.features.compiled(outputs), shifted, rest)


def leave_one_out(
    prior: Prior, genotypes: np.ndarray, log_seconds: np.ndarray, flops: np.ndarray
) -> LeaveOneOut:
    """Predict up to `HELD_OUT` measured networks, each from all others."""
    count = len(log_seconds)
    mean, scaled = prior.scaled(genotypes)
    rows = np.linspace(0, count - 1, min(count, HELD_OUT)).round().astype(int)
    missed, of_mean, of_flops = np.empty((3, len(rows)))
    for place, index in enumerate(rows):
        others = np.arange(count) != index
        known = log_seconds[others]
        found = infer(scaled[others], mean[others], known - known.mean(), prior.noise)
        value = mean[index] + scaled[index] @ (scaled[others].T @ found.alpha)
        predicted = float(bounded(value, found.floor)) + known.mean()
        missed[place] = predicted - log_seconds[index]
        of_mean[place] = known.mean() - log_seconds[index]
        of_flops[place] = _from_flops(flops[others], known, flops[index]) - log_seconds[index]
    errors = np.abs(np.expm1(missed))
    return LeaveOneOut(
        float(errors.mean()),
        float(np.median(errors)),
        rank_agreement(missed + log_seconds[rows], log_seconds[rows]),
        *(float(np.sqrt((each**2).mean())) for each in (missed, of_mean, of_flops)),
    )


def _from_flops(flops: np.ndarray, log_seconds: np.ndarray, new: float) -> float:
    """Return log seconds at `new` FLOPs by linear regression of log seconds on log FLOPs."""
    logs = np.log(flops) - np.log(flops).mean()
    slope = logs @ log_seconds / max(logs @ logs, 1e-12)
    return float(log_seconds.mean() + slope * (np.log(new) - np.log(flops).mean()))


def rank_agreement(left: np.ndarray, right: np.ndarray) -> float:
    """Return Kendall's tau (a) of two arrays [n]; ties count 0."""
    signs = np.sign(left[:, None] - left) * np.sign(right[:, None] - right)
    return float(signs.sum() / (len(left) * (len(left) - 1)))


def fit_device(
    space: SearchSpace,
    genotypes: np.ndarray,
    seconds: Sequence[float] | np.ndarray,
    name: str,
    *,
    batch: int = 1,
    any_unit: bool = False,
) -> OwnDevice:
    """Fit a device to measured networks.

    genotypes  measured networks, int8 [n, decisions], preferably chosen by `nas.devices.design`.
    seconds    time of one run of each network, [n].
    name       name of the device.
    batch      images per run.
    any_unit   whether to accept times that appear to be in another unit.

    Raises ValueError for missing, zero, negative and constant times, for times that do not depend
    on the networks (shuffled rows), for a likely wrong unit, for too few different networks or too
    many, and for a space that is not made of stages.
    """
    check_name(name)
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 1_000_000:
        raise ValueError(f"batch: {quoted(batch)} is not allowed; use a number from 1 to 1,000,000")
    check_genotypes(space, genotypes)
    times = checked_seconds(space, genotypes, seconds)
    prior = prior_of(space)
    check_count(space, prior, genotypes)
    log_seconds = np.log(times / batch)
    if not any_unit:
        check_unit(space, genotypes, log_seconds, batch=batch)
    found = leave_one_out(prior, genotypes, log_seconds, space.costs(genotypes).flops)
    if found.deviation >= found.of_mean:
        raise ValueError(
            f"seconds: predictions from the other networks have {_percent(found.mean_error)} "
            "error, no better than the mean time; are rows exchanged, or was the machine busy?"
        )
    return OwnDevice(
        name=name,
        space=space.name,
        settings=dict(space.settings),
        batch=batch,
        networks=[space.choices_of(genotype) for genotype in genotypes],
        seconds=times.tolist(),
        leave_one_out=found,
        expected=_expected(space, prior, genotypes),
    )


def _percent(error: float) -> str:
    return f"{error:.0%}" if error < MOST_ERROR else f"more than {MOST_ERROR:.0%}"


def _expected(space: SearchSpace, prior: Prior, genotypes: np.ndarray) -> dict[int, float]:
    """Return the expected mean relative error over the space, now and with more measurements."""
    rng = np.random.default_rng(0)
    pool, targets = np.unique(space.sample(POOL, rng), axis=0), space.sample(TARGETS, rng)
    most = min(max(FURTHER), len(pool))
    errors = plan(prior, most, pool, targets, genotypes).errors
    now = plan(prior, 1, genotypes[-1:], targets, genotypes[:-1]).errors[0]
    return {0: float(now)} | {k: float(errors[k - 1]) for k in FURTHER if k <= most}


def read_own(path: str | Path) -> OwnDevice:
    """Return a device from a file that `OwnDevice.save` wrote.

    Raises ValueError if the file is missing or not a device file.
    """
    path = Path(path)
    shown = shortened(path)
    try:
        if path.exists() and not path.is_file():  # reading /dev/zero would never end
            raise ValueError("it is not a file")
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE:,} bytes")
        return _device_from(parse_json(path.read_bytes()))
    except OSError as error:
        raise ValueError(f"device {shown}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"device {shown}: {shortened(error)}") from None


def _device_from(content: Any) -> OwnDevice:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"it is not a device file (format {FORMAT!r})")
    if set(content) != set(KEYS):
        wrong = sorted(set(content) ^ set(KEYS))[0]
        raise ValueError(
            f"the key {quoted(wrong)} is {'unknown' if wrong in content else 'missing'}"
        )
    check_name(content["name"])
    settings, networks, seconds = content["settings"], content["networks"], content["seconds"]
    if not isinstance(content["space"], str) or not _simple(settings):
        raise ValueError("space and settings must be a text and an object of plain values")
    if not isinstance(networks, list) or not all(map(_simple, networks)):
        raise ValueError("networks must be a list of objects {decision: option}")
    if not isinstance(seconds, list) or len(seconds) != len(networks):
        raise ValueError("seconds must be a list with one number for each network")
    numbers = [each for each in seconds if isinstance(each, (int, float)) and each is not True]
    if len(numbers) < len(seconds) or len(seconds) < FEWEST or min(numbers) <= 0:
        raise ValueError(f"seconds must be at least {FEWEST} numbers above 0")
    batch = content["batch"]
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 1_000_000:
        raise ValueError("batch must be a whole number from 1 to 1,000,000")
    described = {key: content[key] for key in ("name", "space", "settings", "batch", "networks")}
    return OwnDevice(**described, seconds=[float(each) for each in seconds])


def _simple(value: Any) -> bool:
    """Return whether a value is a JSON object of plain values."""
    return isinstance(value, dict) and all(
        each is None or isinstance(each, SIMPLE) for each in value.values()
    )
