"""Runs of `experiments.fewer_trainings`, in a module that its worker processes can import."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.lib import replay, replay_curves
from experiments.lib.strategy_tasks import NOISE, REFERENCE, oracle_digest
from nas.asha import Asha

WORKERS = 16
BUDGETS = {"predictor": 150, "optuna:tpe-multivariate": 120, "optuna:tpe": 100}
FEWER_SEEDS = {"optuna:tpe": 5}  # a run takes twenty seconds
MORE_SEEDS = {"predictor": 4}  # factor; with twenty seeds the error of its loss is 15 to 26%
CLUSTERS = (1, 4, 16)  # workers of the searches through recorded curves
RUNGS = (2, 3.0)  # ASHA's default first rung (a quarter of the steps) and factor
GRID = tuple(itertools.product((1, 2, 3), (2.0, 3.0, 4.0)))
GRID_WORKERS = 4

Job = tuple[str, str, int, int, tuple[int, float] | None]  # part, strategy, workers, seed, ASHA


def planned(seeds: int) -> list[Job]:
    """Return all runs, those of the first seed first, those of `FEWER_SEEDS` last."""
    jobs: list[Job] = []
    for seed in range(seeds):
        jobs += [
            ("async", name, workers, seed, None)
            for name in BUDGETS
            if name not in FEWER_SEEDS
            for workers in (1, WORKERS)
        ]
        jobs += [
            ("curves", name, workers, seed, rungs)
            for name in replay_curves.SEARCHES
            for workers in CLUSTERS
            for rungs in (None, RUNGS)
        ]
        jobs += [
            ("curves", "predictor", GRID_WORKERS, seed, rungs) for rungs in GRID if rungs != RUNGS
        ]
    jobs += [
        ("async", name, workers, seed, None)
        for name, times in MORE_SEEDS.items()
        for seed in range(seeds, times * seeds)
        for workers in (1, WORKERS)
    ]
    return jobs + [
        ("async", name, workers, seed, None)
        for name, fewer in FEWER_SEEDS.items()
        for seed in range(min(seeds, fewer))
        for workers in (1, WORKERS)
    ]


def run(job: Job, data: Path, curves_file: Path) -> dict[str, Any]:
    """Run one replayed search; return its results as plain data."""
    part, name, workers, seed, rungs = job
    if part == "async":
        durations = _durations(data / "imagenet_measurements" / "train.parquet")
        outcome = replay.run(name, seed, workers=workers, budget=BUDGETS[name], durations=durations)
    else:
        curves = replay_curves.read_curves(curves_file)
        asha = None if rungs is None else Asha(curves.steps, *rungs)
        outcome = replay_curves.run(name, seed, curves, workers=workers, asha=asha)
    return {"part": part, **outcome, "rungs": None if rungs is None else list(rungs)}


_durations = functools.cache(replay.fit_durations)


def job_of(run: dict[str, Any]) -> Job:
    """Return the job of a run."""
    rungs = None if run["rungs"] is None else (int(run["rungs"][0]), float(run["rungs"][1]))
    return run["part"], run["strategy"], run["workers"], run["seed"], rungs


@dataclass(frozen=True)
class TrainTime:
    """The quality of the regression of training times, as in result files."""

    r2_held_out: float
    outliers_dropped: int
    residual_sd_log: float


@dataclass(frozen=True)
class RecordedCurves:
    """Summary of the learning curves that are replayed.

    seed_noise_sd  points of accuracy; None if unknown.
    best           accuracy in percent after all epochs.
    seconds        of training all networks in full.
    """

    networks: int
    steps: int
    complete: bool
    seed_noise_sd: float | None
    best: float
    seconds: float


@dataclass(frozen=True)
class Settings:
    """Settings of all runs; the names of the fields are those in the result file."""

    target_flops: float
    noise: float
    oracle: str
    budgets: Mapping[str, int]
    rungs: Sequence[float]
    train_time: TrainTime
    curves: RecordedCurves


def settings_of(data: Path, curves_file: Path) -> Settings:
    """Return the settings of all runs with these measurements and curves."""
    durations = _durations(data / "imagenet_measurements" / "train.parquet")
    curves = replay_curves.read_curves(curves_file)
    return Settings(
        target_flops=REFERENCE[1],
        noise=NOISE,
        oracle=oracle_digest(),
        budgets=BUDGETS,
        rungs=list(RUNGS),
        train_time=TrainTime(
            r2_held_out=round(durations.r2, 3),
            outliers_dropped=durations.dropped,
            residual_sd_log=round(float(durations.residuals.std()), 3),
        ),
        curves=RecordedCurves(
            networks=len(curves.genotypes),
            steps=curves.steps,
            complete=curves.complete,
            seed_noise_sd=None if math.isnan(curves.noise) else curves.noise,
            best=float(curves.accuracy[:, -1].max()),
            seconds=round(float(curves.seconds[:, -1].sum()), 1),
        ),
    )
