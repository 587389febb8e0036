"""Surrogate: predicted accuracy of networks, from a model fitted to measured trainings.

    mean, std = load_surrogate("imagenet").predict(genotypes)
    mean, std = load_surrogate("imagenet").predict(genotypes, schedule="long")

"imagenet" predicts for the `efficientnet` space the ImageNet top-1 in percent *under the short
training schedule of the measurements*: EfficientNet-B0 has about 66, not the 77 of its full
training. Ranks transfer to full trainings much better than values. The model was fitted to the
4,623 networks of Accel-NASBench (Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for
Accelerator-Aware NAS", DAC 2024; Apache-2.0) by `experiments.fit_imagenet_surrogate`, whose
results file has the errors.

`schedule="long"` predicts the top-1 under a schedule that is 5.7 times as long: B0 has about 72.5,
still not the 77 of 350 epochs. `experiments.fit_long_schedule` fitted that model to 80 networks.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator, Measured
from nas.evaluators.long_schedule import LongSchedule, read_long_schedule
from nas.evaluators.stage_tables import Tables
from search_spaces.architecture import Architecture
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from vbs.folder import write_whole
from vbs.text import quoted

SURROGATES = {"imagenet": "imagenet_surrogate.npz"}
LONG_SCHEDULES = {"imagenet": "imagenet_long_schedule.json"}
SCHEDULES = ("short", "long")
TABLE_FIELDS = ("totals", "log_center", "log_scale", "pairs", "gates", "polynomial")


@dataclass(frozen=True)
class Surrogate:
    """A fitted model and its measurements.

    name      name for `load_surrogate`.
    space     name of the space for which it predicts.
    settings  resolution, classes, width and small_images of that space.
    unit      description of its numbers.
    source    origin of the measurements, with their licence.
    tables    tables of the model.
    measured  measured networks of the fit, each once, with their mean accuracies.
    long      model of a longer schedule; None: none.
    """

    name: str
    space: str
    settings: Mapping[str, Any]
    unit: str
    source: str
    tables: Tables
    measured: Measured
    long: LongSchedule | None = None

    @property
    def choices(self) -> Mapping[str, tuple]:
        """Decisions of a genotype and their options, in order."""
        return self.tables.choices

    def predict(
        self,
        networks: np.ndarray | Architecture | Sequence[Architecture],
        *,
        schedule: str = "short",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the accuracy of one training: mean and standard deviation, float64 [n] each.

        Both are in percent.

        networks  genotypes int8 [n, decisions], or networks of the space; n is 1 for one network.
        schedule  "short", that of the measurements, or "long" (`LongSchedule`).

        The deviation is that of a new measurement. It includes the spread of trainings of one
        network, effects that 28 decisions do not express, and the uncertainty of the model, which
        is larger where there are few measurements.

        Raises ValueError for networks that are not in the space, and for genotypes that are not an
        integer array [n, decisions] of option indices.
        """
        long = self.schedule_model(schedule)
        genotypes = self._genotypes(networks)
        if long is None:
            return self.tables.predict(genotypes)
        own, seeds = long.predict(*self.tables.predict_own(genotypes), self.tables.logs(genotypes))
        return own.mean, np.hypot(own.std, seeds)

    def predict_own(
        self,
        networks: np.ndarray | Architecture | Sequence[Architecture],
        *,
        schedule: str = "short",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the average accuracy over many trainings and its deviation, float64 [n] each.

        Both are in percent.

        The deviation excludes the spread of seeds; `nas.evaluators.ranking` uses it for the
        certainty of a ranking. Arguments and errors are those of `predict`.
        """
        long = self.schedule_model(schedule)
        genotypes = self._genotypes(networks)
        short = self.tables.predict_own(genotypes)
        return short if long is None else long.predict(*short, self.tables.logs(genotypes))[0]

    def schedule_model(self, schedule: str) -> LongSchedule | None:
        """Return the model of a schedule; None for the short one. Raises ValueError for others."""
        if schedule not in SCHEDULES:
            known = " or ".join(SCHEDULES)
            raise ValueError(f"schedule: {schedule!r} is unknown; use {known}")
        if schedule == "long" and self.long is None:
            raise ValueError(f"schedule: surrogate {self.name!r} has no longer schedule; use short")
        return self.long if schedule == "long" else None

    def _genotypes(
        self, networks: np.ndarray | Architecture | Sequence[Architecture]
    ) -> np.ndarray:
        if isinstance(networks, Architecture):
            networks = [networks]
        if not isinstance(networks, np.ndarray):
            if not isinstance(networks, Iterable):
                raise ValueError(
                    f"networks: {quoted(networks, 60)} is not allowed; use genotypes [n, decisions]"
                    " or networks of the space"
                )
            known = space(self.space, **self.settings)
            rows = [known.encode(network) for network in networks]
            networks = np.array(rows, np.int8).reshape(len(rows), len(self.choices))
        return self._legal(networks)

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError unless the surrogate was fitted on `space`."""
        choices = {name: tuple(options) for name, options in space.choices.items()}
        same_choices = list(choices.items()) == list(self.choices.items())
        if space.name == self.space and same_choices and space.settings == self.settings:
            return
        if space.name != self.space:
            limits = f"for the space {self.space!r}, not for {space.name!r}"
        elif not same_choices:
            limits = f"for the choices of the space {self.space!r}, not for other choices"
        else:
            limits = _difference(self.settings, space.settings)
        raise ValueError(
            f"surrogate {self.name!r} predicts only {limits}; use --evaluator proxy, zero-cost or "
            "supernet with --data, or a table of measured networks"
        )

    def _legal(self, genotypes: np.ndarray) -> np.ndarray:
        genotypes = np.asarray(genotypes)
        counts = [len(options) for options in self.choices.values()]
        if genotypes.ndim != 2 or genotypes.shape[1] != len(counts):
            raise ValueError(
                f"genotypes: shape {genotypes.shape} is not [n, {len(counts)}], one column for "
                f"each decision of the space {self.space!r}"
            )
        if not np.issubdtype(genotypes.dtype, np.integer):
            raise ValueError(
                f"genotypes: {genotypes.dtype} is not an integer type of option indices"
            )
        if len(genotypes):
            low, high = genotypes.min(0), genotypes.max(0)
            for (name, options), least, most in zip(self.choices.items(), low, high, strict=True):
                if least < 0 or most >= len(options):
                    wrong = least if least < 0 else most
                    raise ValueError(
                        f"genotypes: option {wrong} of {name!r} is not in 0..{len(options) - 1}"
                    )
        return genotypes


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the settings that differ: "at 224 px, not 96 px"."""
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if names == ["resolution"]:
        return f"at {ours['resolution']} px, not {theirs.get('resolution', '?')} px"
    each = (
        " and ".join(f"{name} {values.get(name, 'none')}" for name in names)
        for values in (ours, theirs)
    )
    return "for {}, not for {}".format(*each)


class SurrogateEvaluator(Evaluator):
    """Evaluator by a surrogate, thousands of networks at once.

    schedule  training schedule, "short" or "long"; see `Surrogate.predict`.
    """

    name = "surrogate"
    cheap = True
    instant = True

    def __init__(self, surrogate: Surrogate, schedule: str = "short") -> None:
        self.surrogate, self.schedule = surrogate, schedule
        self.axis = f"predicted ImageNet top-1 (%), {schedule} schedule"
        long = surrogate.schedule_model(schedule)
        if long is None:
            self.unit = f"{surrogate.unit}, not the 77 of its full training"
            self.measured = surrogate.measured
        else:  # the measured accuracies belong to the short schedule
            self.unit = long.unit

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError unless the surrogate was fitted on `space`."""
        self.surrogate.check(space)

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Predict for genotypes int8 [n, decisions]; raises ValueError for another space."""
        self.check(space)
        start = time.perf_counter()
        accuracy, std = self.surrogate.predict(genotypes, schedule=self.schedule)
        count = len(accuracy)
        seconds = np.full(count, (time.perf_counter() - start) / max(count, 1))
        return Evaluations(accuracy, std, seconds)

    def further(self, space: SearchSpace, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Return top-1 and its deviation under the other schedule, in percent, [n] each."""
        if self.surrogate.long is None:
            return {}
        other = "short" if self.schedule == "long" else "long"
        accuracy, std = self.surrogate.predict(genotypes, schedule=other)
        return {f"accuracy_{other}": accuracy, f"accuracy_{other}_std": std}

    def predict_own(
        self, space: SearchSpace, genotypes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean accuracy over many trainings and its deviation, percent, [n] each."""
        return self.surrogate.predict_own(genotypes, schedule=self.schedule)


@functools.cache
def load_surrogate(name: str = "imagenet") -> Surrogate:
    """Return the surrogate of this package with that name; raises ValueError for other names."""
    if name not in SURROGATES:
        known = ", ".join(SURROGATES)
        raise ValueError(f"surrogate: {name!r} is unknown; use one of {known}")
    files = resources.files("nas.evaluators")
    with resources.as_file(files.joinpath(SURROGATES[name])) as path:
        surrogate = read_surrogate(path)
    if name not in LONG_SCHEDULES:
        return surrogate
    with resources.as_file(files.joinpath(LONG_SCHEDULES[name])) as path:
        return dataclasses.replace(surrogate, long=read_long_schedule(path))


def imagenet_evaluator(schedule: str = "short") -> SurrogateEvaluator:
    """Return the evaluator of the ImageNet surrogate, for a schedule of `SCHEDULES`."""
    return SurrogateEvaluator(load_surrogate("imagenet"), schedule)


def read_surrogate(path: str | Path) -> Surrogate:
    """Return the surrogate in a file of `write_surrogate` (.npz without pickled objects)."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    about = json.loads(arrays["about"].item())
    tables = Tables(
        choices={decision: tuple(options) for decision, options in about["choices"].items()},
        **{field: arrays[field] for field in TABLE_FIELDS},
        noise=about["noise"],
        ceiling=about["ceiling"],
        scale=about["scale"],
    )
    described = {key: about[key] for key in ("name", "space", "settings", "unit", "source")}
    measured = Measured(arrays["measured_genotypes"], arrays["measured_accuracy"])
    return Surrogate(**described, tables=tables, measured=measured)


def write_surrogate(path: str | Path, surrogate: Surrogate) -> None:
    """Write a surrogate to a file atomically; equal surrogates produce equal bytes."""
    tables = surrogate.tables
    about = {key: getattr(surrogate, key) for key in ("name", "space", "unit", "source")}
    about |= {"settings": dict(surrogate.settings), "choices": dict(tables.choices)}
    about |= {"noise": tables.noise, "ceiling": tables.ceiling, "scale": tables.scale}
    arrays = {
        "about": np.array(json.dumps(about)),
        "measured_genotypes": surrogate.measured.genotypes.astype(np.int8),
        "measured_accuracy": surrogate.measured.accuracy,
        **{field: getattr(tables, field) for field in TABLE_FIELDS},
    }

    def save(unfinished: Path) -> None:
        with unfinished.open("wb") as file:  # numpy would append .npz to a path
            np.savez_compressed(file, **arrays)

    write_whole(Path(path), save)
