"""A connection to Ray with the images and trainings of a run, in a child process (`RayProcess`)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from train.cluster.connect import (
    check_fits,
    connect,
    disconnect,
    is_connected,
    real_gpus,
    total,
    wait_for_nodes,
)
from train.cluster.process import RayProcess
from train.length import described, too_short
from train.parser import FACTOR
from train.ray_tune import steps
from train.ray_tune.config import RETRIES, WAITING
from train.ray_tune.plan import Plan, Trial, with_data
from train.ray_tune.progress import Trials
from train.ray_tune.store import Store
from train.ray_tune.trial_record import ending, learned, progress_row
from train.recipe import Recipe
from vbs.console import print_err
from vbs.text import shell_word

if TYPE_CHECKING:
    from train.data import Data
    from train.ray_tune.trial import Share

Call = Callable[..., Any]  # (name of a method of `Session`, arguments) -> its result


@contextlib.contextmanager
def session(plan: Plan, *, resumed: bool) -> Iterator[Call]:
    """Yield a function that calls methods of a `Session`.

    The session is in a child process, or in this process if it is already connected to Ray. Raises
    RayLost if the process, or its Ray, has ended.
    """
    address = plan.config.address
    if is_connected():
        here = Session(plan, resumed, address=address)
        try:
            yield lambda method, *arguments: getattr(here, method)(*arguments)
        finally:
            here.close()
        return
    limit = math.inf if plan.config.is_local else None  # local sessions first load the images
    with RayProcess(Session, plan, resumed, address=address, limit=limit) as process:
        yield process.call


class Session:
    """A connection to Ray, with the images of the trainings."""

    def __init__(self, plan: Plan, resumed: bool, *, address: str | None) -> None:
        self._plan, self._resumed = plan, resumed
        self._data: Data | None = None
        # reports errors of the data before Ray is started here; a cluster may have other paths
        if plan.config.is_local:
            self._plan, self._data = with_data(plan, resumed=resumed)
        self._connected = connect(address)

    def prepare(self) -> Plan:
        """Wait for the nodes, check their resources, and load the images.

        Returns the plan, completed with all that depends on the images.
        """
        if self._plan.config.nodes:
            wait_for_nodes(self._plan.config.nodes)
        self._resources = _resources(self._plan)
        if self._data is None:
            self._plan, self._data = with_data(self._plan, resumed=self._resumed)
        return self._plan

    def share(self, place: str, scratch: str) -> None:
        """Put the images into Ray's object store, from which the trials read them.

        Raises ValueError if a node cannot read them, or has no access to the results folder.
        """
        import ray

        from train.ray_tune.tuner import check_nodes

        self._store = Store(place)
        images = ray.put(self._data)
        if not self._plan.config.is_local:
            check_nodes(self._store, images)
        self._shared = _shared(self._plan, self._store, images, self._resources, scratch=scratch)

    def train(self) -> None:
        """Train all remaining trials; return when each has ended."""
        assert self._data is not None
        trials = left(self._store, self._plan)
        _print_preview(self._plan, self._store, self._data, self._shared, trials)
        _train_left(self._plan, self._store, self._shared, trials)

    def close(self) -> None:
        """Disconnect from Ray."""
        if self._connected:
            disconnect()


def left(store: Store, plan: Plan) -> list[Trial]:
    """Return the trials that have not ended, including lost ones."""
    return [trial for trial in plan.trials if ending(store, trial["name"]) is None]


def _train_left(plan: Plan, store: Store, shared: Share, left: Sequence[Trial]) -> None:
    from train.ray_tune.tuner import train_all

    config = plan.config
    curves = {trial["name"]: learned(store, trial["name"]) for trial in plan.trials}
    concurrent = config.workers
    if concurrent is None and shared.processes > 1:
        # each trial has a process on the head that waits for nodes, and the cluster may grow
        concurrent = min(len(left), max(capacity(shared), WAITING))
    asha = None
    if config.scheduler == "asha":
        asha = {"epochs": plan.epochs, "grace": config.grace, "factor": config.factor or FACTOR}
    progress = Trials(
        plan.trials,
        known=_endings(store, plan, left),
        curves={name: [progress_row(row) for row in rows] for name, rows in curves.items()},
        steps=shared.steps,
        images=plan.images,
    )
    with progress:
        train_all(left, shared, progress, asha=asha, curves=curves, concurrent=concurrent)


def capacity(shared: Share) -> int:
    """Return the number of trials that the nodes can run at once, at least 1."""
    most = [total("CPU") / shared.cpus] if shared.cpus else []
    most += [total("GPU") / shared.gpus] if shared.gpus else []
    return max(1, int(min(most, default=1)))


def _endings(store: Store, plan: Plan, left: Sequence[Trial]) -> dict[str, str]:
    """Return the status of the trials that had ended before, by name."""
    names = {trial["name"] for trial in plan.trials} - {trial["name"] for trial in left}
    found = {name: ending(store, name) for name in names}
    return {name: ended["status"] for name, ended in found.items() if ended}


def _shared(
    plan: Plan, store: Store, images: Any, resources: tuple[float, float], *, scratch: str
) -> Share:
    from train.ray_tune.trial import Share

    config, (gpus, cpus) = plan.config, resources
    processes = config.processes_per_trial
    loaders = config.loaders
    return Share(
        data=images,
        out=store.place,
        settings={
            "data": config.data,
            "data_root": config.data_root,
            "data_settings": plan.data_settings,
            "processes": processes,
        },
        cpus=cpus,
        gpus=gpus,
        processes=processes,
        loaders=max(0, int(cpus / processes) - 1) if loaders is None else loaders,
        retries=RETRIES if config.retries is None else config.retries,
        cuda=processes > 1 and gpus > 0 and real_gpus(gpus / processes),
        scratch=scratch,
        log=config.log,
        steps=steps.start(),
    )


def _resources(plan: Plan) -> tuple[float, float]:
    """Return GPUs and CPUs of a trial; raise ValueError if no node has them."""
    processes = plan.config.processes_per_trial
    gpus, cpus = plan.config.gpus_per_trial, plan.config.cpus_per_trial
    if gpus is None:
        gpus = float(processes) if total("GPU") else 0.0
    if cpus is None:
        cpus = float(processes)
    check_fits(cpus / processes, gpus / processes, count=processes)
    share = gpus / processes
    if processes == 1 and share > 1:
        raise ValueError(
            f"--gpus-per-trial: {gpus:g} is not allowed; one process uses one GPU or a part of "
            f"it: use 1, or {math.ceil(gpus)} with --processes-per-trial {math.ceil(gpus)}"
        )
    if processes > 1 and share not in (0, 1):
        raise ValueError(
            f"--gpus-per-trial: {processes} processes of a trial cannot share {gpus:g} GPUs; "
            f"use {processes}, or 0"
        )
    return gpus, cpus


def _print_preview(
    plan: Plan, store: Store, data: Data, shared: Share, left: Sequence[Trial]
) -> None:
    """Print what will be trained, on which data, with which recipe and where."""
    config, trials = plan.config, plan.trials
    held = f", {len(data.minival):,} held-out images" if data.minival else ""
    recipe, again = Recipe.from_dict(trials[0]["recipe"]), len(trials) - len(left)
    asha = config.scheduler == "asha"
    length = described(recipe, len(data.train), judged=config.grace or 0)
    warning = too_short(recipe, len(data.train))
    over = f"; {again} already finished" if again else ""
    stop = "all are trained to the end"
    if asha:
        stop = f"one of {config.factor:g} continues at each rung from epoch {config.grace}"
    device = f"{shared.gpus:g} GPU, " if shared.gpus else ""
    print_err(
        f"trials: {len(trials)}{over}; {stop}",
        f"data {data.name}: {len(data.classes)} classes, {len(data.train):,} training images{held}",
        f"recipe {recipe.name}: {length}, of batch {recipe.batch}; a trial "
        f"has {device}{shared.cpus:g} CPU, {shared.processes} process"
        f"{'es' if shared.processes > 1 else ''}",
        f"{capacity(shared)} trials fit at once; results go to {shell_word(store.place)}",
    )
    if warning:
        print_err(warning)
