"""Measured devices: six accelerators, and the training time from the same data set.

They were fitted to the 4,623 networks of Accel-NASBench (Ahmad et al., "Accel-NASBench:
Sustainable Benchmarking for Accelerator-Aware NAS", DAC 2024; Apache-2.0) by
`experiments.fit_devices`, whose results file has the error of each device.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices.names import DEVICES
from nas.devices.prediction import check_genotypes, check_kind, check_space
from nas.devices.stage_times import StageTimes
from search_spaces.space import SearchSpace
from vbs.folder import write_whole
from vbs.text import one_of

FILE = "measured.npz"
MODEL_FIELDS = ("tables", "plain", "sharpness", "gaps", "shift", "spread")


@dataclass(frozen=True)
class MeasuredDevice:
    """A device whose speed was measured on thousands of networks.

    name      name for `load_device`.
    title     name in tables and figures.
    space     name of the space for which it predicts.
    settings  resolution, classes, width and small_images of that space.
    choices   decisions and options of that space.
    models    kind of prediction -> model of the log seconds. The kinds are throughput (images/s),
              latency (seconds of one image) and train_time (seconds of the whole training).
    source    origin of the measurements, with their licence.
    """

    name: str
    title: str
    space: str
    settings: Mapping[str, Any]
    choices: Mapping[str, tuple]
    models: Mapping[str, StageTimes]
    source: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of prediction; the first is the default of `predict`."""
        return tuple(self.models)

    def predict(
        self, space: SearchSpace, genotypes: np.ndarray, kind: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions and the standard deviations of single measurements, float64 [n] each.

        genotypes  integer array [n, decisions] of option indices.
        kind       "throughput" (images/s), or "latency" or "train_time" (seconds), as in `kinds`;
                   None: the first one.

        Raises ValueError for a space or a kind that was not measured, and for invalid genotypes.
        """
        kind = self._kind(kind)
        self.check(space)
        check_genotypes(space, genotypes)
        log_seconds, spread = self.models[kind].predict(self.choices, genotypes)
        value = np.exp(-log_seconds if kind == "throughput" else log_seconds)
        return value, value * spread

    def _kind(self, kind: str | None) -> str:
        if isinstance(kind, str) and kind not in self.models:
            devices = measured_devices().items()
            known = [name for name, device in devices if kind in device.models]
            if known:
                raise ValueError(
                    f"device {self.name!r}: {kind} was measured on {', '.join(known)} only"
                )
        return check_kind(self, kind)

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError unless the device was measured on `space`."""
        check_space(self, space, self.choices)


@functools.cache
def measured_devices() -> Mapping[str, MeasuredDevice]:
    """Return the devices of this package by name."""
    with resources.as_file(resources.files("nas.devices").joinpath(FILE)) as path:
        return read_measured(path)


def measured_device(name: str) -> MeasuredDevice:
    """Return the device of this package with that name.

    Raises ValueError for an unknown name; the message suggests the nearest.
    """
    return measured_devices()[one_of("device", name, DEVICES)]


def read_measured(path: str | Path) -> dict[str, MeasuredDevice]:
    """Return the devices of a file that `write_measured` wrote (.npz without pickled objects)."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    about = json.loads(arrays["about"].item())
    models: dict[str, dict[str, StageTimes]] = {}
    for index, (name, kind) in enumerate(about["models"]):
        fields = {field: arrays[field][index] for field in MODEL_FIELDS}
        models.setdefault(name, {})[kind] = StageTimes(**fields)
    choices = {decision: tuple(options) for decision, options in about["choices"].items()}
    common = {key: about[key] for key in ("space", "settings", "source")}
    return {
        name: MeasuredDevice(name, DEVICES[name], choices=choices, models=kinds, **common)
        for name, kinds in models.items()
    }


def write_measured(path: str | Path, devices: Mapping[str, MeasuredDevice]) -> None:
    """Write devices of one space atomically; equal devices produce equal bytes."""
    first = next(iter(devices.values()))
    models = [(name, kind, m) for name, each in devices.items() for kind, m in each.models.items()]
    about = {
        "space": first.space,
        "settings": dict(first.settings),
        "choices": dict(first.choices),
        "source": first.source,
        "models": [[name, kind] for name, kind, _ in models],
    }
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
    arrays |= {
        field: np.stack([np.asarray(getattr(model, field)) for _, _, model in models])
        for field in MODEL_FIELDS
    }

    def save(unfinished: Path) -> None:
        with unfinished.open("wb") as file:  # numpy would append .npz to a path
            np.savez_compressed(file, **arrays)

    write_whole(Path(path), save)
