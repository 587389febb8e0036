"""Running Ray Tune on the machine that started the trainings, and handling its events."""

from __future__ import annotations

import contextlib
import logging
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from train.cluster.connect import LOOK, QUIET, death
from train.cluster.token import environment
from train.ray_tune.asha import Asha
from train.ray_tune.progress import Trials
from train.ray_tune.store import Store
from train.ray_tune.trial import Share, run_trial
from train.ray_tune.trial_record import Row, end, ending, learned, progress_row
from vbs import signals

FIELDS = ("epoch", "top1", "seconds", "train_loss", "images_per_second")


class ProgressCallback(tune.Callback):
    """A callback that passes Tune's events to the display and records the end of lost trials."""

    def __init__(
        self, store: Store, progress: Trials, settings: Mapping[str, Any], *, stops: bool
    ) -> None:
        self._store, self._progress, self._settings = store, progress, settings
        self._stops = stops  # whether the scheduler ends trials early

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks, but this one is only for its own process

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._progress.began(_name(trial))

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        if "epoch" in result:
            row = {name: result[name] for name in FIELDS if name in result}
            self._progress.row(_name(trial), row)

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._progress.waits(_name(trial), _why(trial))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if self._stops:
            self._over(trial, "stopped", "")
        else:
            self._over(trial, "lost", "it ended without a record")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._over(trial, "lost", _why(trial))

    def _over(self, trial: Any, status: str, reason: str) -> None:
        """Report how the trial ended, by its own record or else by a new one."""
        name = _name(trial)
        ended = ending(self._store, name)
        if ended is None:
            rows = learned(self._store, name)
            # on a full disk there is no record, and --resume trains it again
            with contextlib.suppress(OSError):
                end(
                    self._store,
                    trial.config["trial"],
                    self._settings,
                    rows,
                    failed=reason,
                    status=status,
                )
            ended = ending(self._store, name)  # the trial's own record if it was written first
        if ended is None:
            self._progress.ended(name, status, reason)
        else:
            self._progress.ended(name, ended["status"], ended["outcome"].get("failed") or "")


class Silent(TrialProgressCallback):
    """A replacement of Tune's own callback, which prints "completed" for trials that failed."""

    def _print(self, msg: str) -> None:
        """Print nothing; the display shows how trials ended."""


def _name(trial: Any) -> str:
    return trial.config["trial"]["name"]


def _why(trial: Any) -> str:
    """Return why a trial was lost, from the traceback that Tune stored on this machine."""
    try:
        text = Path(trial.error_file).read_text()
    except (OSError, TypeError):
        return "its process or its machine was lost"
    return death(text.rpartition("Failure # ")[2])


def train_all(
    trials: Sequence[Mapping[str, Any]],
    shared: Share,
    progress: Trials,
    *,
    asha: Mapping[str, Any] | None,
    curves: Mapping[str, Sequence[Row]],
    concurrent: int | None,
) -> None:
    """Train all trials; return when each has ended.

    asha    `epochs`, `grace` and `factor`; None for no early stopping.
    curves  rows of curve.json of all trials, including those that have ended.
    """
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    known = {name: [progress_row(row) for row in rows] for name, rows in curves.items()}
    # trials that have already started are resumed first
    order = sorted(trials, key=lambda trial: -len(known.get(trial["name"], [])))
    scheduler = None if asha is None else Asha(**asha, curves=known)
    watch = ProgressCallback(Store(shared.out), progress, shared.settings, stops=asha is not None)
    several = shared.processes > 1  # Ray Train then requests the resources of the processes
    needs = (
        {"node:__internal_head__": 0.001}
        if several
        else {
            "cpu": shared.cpus,
            "gpu": shared.gpus,
        }
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, shared=shared), needs),
        param_space={"trial": tune.grid_search([dict(trial) for trial in order])},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=concurrent,
            reuse_actors=True,  # saves 5 s of imports for further trials in the same process
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=shared.scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=shared.retries),
            callbacks=[watch, Silent()],
        ),
    )
    try:
        with environment(QUIET), signals.caught():
            tuner.fit()
    finally:
        shutil.rmtree(shared.scratch, ignore_errors=True)


def check_nodes(store: Store, data: Any) -> None:
    """Raise ValueError unless every machine can access the store and the image files.

    data  reference of the `train.data.Data`.
    """
    here = ray.util.get_node_ip_address()
    nodes = {node["NodeManagerAddress"]: node for node in ray.nodes() if node["Alive"]}
    others = {address: node for address, node in nodes.items() if address != here}
    if not others:
        return
    marker, looks = f".seen-by-all-{uuid.uuid4().hex[:8]}", {}
    store.write(marker, {})
    try:
        for address, node in others.items():
            on = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(_look).options(num_cpus=0, scheduling_strategy=on, max_retries=0)
            looks[task.remote(store.place, marker, data)] = address
        done, _ = ray.wait(list(looks), num_returns=len(looks), timeout=LOOK)
        for look in done:
            try:
                reason = ray.get(look)
            except ray.exceptions.RayError:
                continue  # nodes that leave the cluster are ignored
            if reason:
                raise ValueError(f"{reason} (on node {looks[look]})")
    finally:
        store.remove(marker)


def _look(place: str, marker: str, data: Any) -> str:
    """Return the problem of the store or the images on this node; "" if there is none."""
    try:
        store = Store(place)
        if store.read(marker) is None:
            return f"out: {place} is another folder there; use one that all nodes share, or a URL"
        store.check()
    except (ValueError, OSError) as error:
        return str(error)
    try:
        data.train.picture(0)
    except Exception as error:
        return f"data: the images cannot be read ({type(error).__name__}: {error})"
    return ""
