"""Learning the deviations of the prior for a new device from the measured devices.

Each measured device in turn serves as the new one: its measurements are predicted from the devices
of other product lines, and the deviations with the highest likelihood over all of them are selected
(type-II maximum likelihood by coordinate search, with a weak penalty on the distance to the start).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from experiments.lib.device_data import Speeds, line_of
from nas.devices.features import GROUPS, Features
from nas.devices.gaussian import evidence
from nas.devices.measured import MeasuredDevice
from nas.devices.prior import CONSTANT, SPEED_KINDS
from nas.devices.stage_times import StageTimes
from search_spaces.space import SearchSpace

Key = tuple[str, str]  # device, kind
START = {
    "mean": 0.2,
    "sources": 0.4,
    "operations": 0.2,
    "FLOPs": 0.1,
    "activations": 0.2,
    "squeezed activations": 0.1,
    "depthwise FLOPs": 0.1,
    "layers": 0.1,
    "totals": 0.02,
    "decisions": 0.01,
    "noise": 0.03,
}
NETWORKS = 40  # number of networks of each device in one draw
DRAWS = 2
ROUNDS = 5  # number of passes over all deviations
FIRST_STEP = 0.7  # of the logarithm of a deviation
PULL = 0.02  # weight of the squared distance to the start


def sources_of(
    devices: dict[str, MeasuredDevice], target: str, *, without: Sequence[str] = ()
) -> list[StageTimes]:
    """Return models of all devices but the product lines of the target and of `without`."""
    barred = {line_of(target), *map(line_of, without)}
    return [
        model
        for name, device in devices.items()
        for kind, model in device.models.items()
        if kind in SPEED_KINDS and line_of(name) not in barred
    ]


def learn(
    space: SearchSpace,
    data: Speeds,
    devices: dict[str, MeasuredDevice],
    *,
    without: Sequence[str] = (),
    measured: bool = True,
) -> dict[str, float]:
    """Return the deviations that maximise the likelihood of the measurements.

    without   devices whose product lines are left out, as targets and as sources.
    measured  whether the sources are the other devices, or the costs of networks.
    """
    barred = set(map(line_of, without))
    rng = np.random.default_rng(0)
    tasks = []
    for (device, kind), rows, seconds in data.rows():
        if kind not in SPEED_KINDS or line_of(device) in barred:
            continue
        sources = sources_of(devices, device, without=without) if measured else []
        features = Features(space, sources)
        for _ in range(DRAWS):
            drawn = rng.choice(len(rows), NETWORKS, replace=False)
            mean, values = features.of(data.genotypes[rows[drawn]])
            logs = np.log(seconds[drawn])
            tasks.append((mean, values, features.groups, logs - logs.mean()))
    names = [*GROUPS[:-1], "noise"]
    start = np.log([START[name] for name in names])

    def loss(logs: np.ndarray) -> float:
        deviations = np.append(np.exp(logs[:-1]), CONSTANT)
        found = [
            evidence(values * deviations[groups], mean, times, float(np.exp(logs[-1])))
            for mean, values, groups, times in tasks
        ]
        return -float(np.mean(found)) + PULL * float(((logs - start) ** 2).sum())

    logs = _coordinate_search(loss, start)
    return {name: round(float(np.exp(log)), 5) for name, log in zip(names, logs, strict=True)}


def _coordinate_search(loss: Callable[[np.ndarray], float], start: np.ndarray) -> np.ndarray:
    """Return a local minimum, one coordinate at a time; a step that fails both ways is halved."""
    place, best, steps = start.copy(), loss(start), np.full(len(start), FIRST_STEP)
    for _ in range(ROUNDS):
        for index in range(len(place)):
            for sign in (1, -1):
                trial = place.copy()
                trial[index] += sign * steps[index]
                value = loss(trial)
                if value < best:
                    place, best = trial, value
                    break
            else:
                steps[index] /= 2
    return place
