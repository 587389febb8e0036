"""What `python -m train.ray_tune` does beside Ray, in a process of its own (`RayProcess`)."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from train.length import described, too_short
from train.ray_asked import fitted_data
from train.ray_connect import (
    check_fits,
    connect,
    disconnect,
    is_connected,
    real_gpus,
    total,
    wait_for_nodes,
)
from train.ray_process import RayProcess
from train.ray_store import Store
from train.recipe import Recipe
from train.scored import scored_images
from vbs.console import print_err
from vbs.text import shell_word

if TYPE_CHECKING:
    from train.data import Data
    from train.ray_trial import Share

WAITING = 32  # trials of several processes that wait for nodes at most, unless asked for

Call = Callable[..., Any]  # (name of a method of `Tuning`, arguments) -> its result


@contextlib.contextmanager
def tuning(args: argparse.Namespace, settings: dict[str, Any], *, resumed: bool) -> Iterator[Call]:
    """Calls methods of a `Tuning`: in a process of its own, or in this one where that is connected
    to Ray already. RayLost where the process, or its Ray, has ended."""
    if is_connected():
        here = Tuning(args, settings, resumed, address=args.address)
        try:
            yield lambda method, *arguments: getattr(here, method)(*arguments)
        finally:
            here.close()
        return
    limit = None if _is_far(args) else math.inf  # else it reads the images first
    with RayProcess(Tuning, args, settings, resumed, address=args.address, limit=limit) as process:
        yield process.call


class Tuning:
    """A connection to Ray with the images and what their trainings get of it."""

    def __init__(
        self, args: argparse.Namespace, settings: dict[str, Any], resumed: bool, *,
        address: str | None,
    ) -> None:  # fmt: skip
        self._args, self._settings, self._resumed = args, settings, resumed
        # a mistake in the data is found before a Ray is started here; there it may be elsewhere
        self._data = None if _is_far(args) else fitted_data(settings, resumed=resumed)
        self._connected = connect(address)

    def prepare(self) -> dict[str, Any]:
        """Wait for the nodes, check what they have, and read the images; the settings with all that
        depends on them."""
        if self._args.nodes:
            wait_for_nodes(self._args.nodes)
        gpus, cpus = _resources(self._args, self._settings)
        self._resources = cpus, gpus
        if self._data is None:
            self._data = fitted_data(self._settings, resumed=self._resumed)
        self._settings["images"] = scored_images(self._data)
        return self._settings

    def share(self, settings: dict[str, Any], place: str, scratch: str) -> None:
        """Put the images where the trials find them; ValueError where a node does not see them, or
        the results folder."""
        import ray

        from train.ray_driver import check_nodes

        self._settings, self._store = settings, Store(place)
        images = ray.put(self._data)
        if _is_far(self._args):
            check_nodes(self._store, images)
        self._shared = _shared(
            self._args, settings, self._store, images, self._resources, scratch=scratch
        )

    def train(self) -> None:
        """Train what is left; returns when each trial has ended."""
        assert self._data is not None
        trials = left(self._store, self._settings)
        _opening(self._settings, self._store, self._data, self._shared, trials)
        _train_left(self._args, self._settings, self._store, self._shared, trials)

    def close(self) -> None:
        """Disconnect."""
        if self._connected:
            disconnect()


def _is_far(args: argparse.Namespace) -> bool:
    return args.address not in (None, "local")


def left(store: Store, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The trials that are not over; those that were only lost are not."""
    from train.ray_trial import ending

    return [trial for trial in settings["trials"] if ending(store, trial["name"]) is None]


def _train_left(
    args: argparse.Namespace, settings: Mapping[str, Any], store: Store, shared: Share,
    left: Sequence[Mapping[str, Any]],
) -> None:  # fmt: skip
    from train.ray_board import Board
    from train.ray_driver import train_all
    from train.ray_trial import learned

    curves = {trial["name"]: learned(store, trial["name"]) for trial in settings["trials"]}
    concurrent = args.max_concurrent
    if concurrent is None and shared.workers > 1:
        # each has a process on the head that waits for its nodes, and a cluster may grow for them
        concurrent = min(len(left), max(capacity(shared), WAITING))
    asha = None
    if settings["scheduler"] == "asha":
        epochs = max(trial["recipe"]["epochs"] for trial in settings["trials"])
        asha = {"epochs": epochs, "grace": settings["grace"], "factor": settings["factor"]}
    with Board(settings["trials"], steps=shared.steps, images=settings.get("images")) as board:
        _known_endings(store, settings, left, board)
        train_all(left, shared, board, asha=asha, curves=curves, concurrent=concurrent)


def capacity(shared: Share) -> int:
    """Trials that the nodes can hold at once, at least 1."""
    most = [total("CPU") / shared.cpus] if shared.cpus else []
    most += [total("GPU") / shared.gpus] if shared.gpus else []
    return max(1, int(min(most, default=1)))


def _known_endings(
    store: Store, settings: Mapping[str, Any], left: Sequence[Mapping[str, Any]], board: Any
) -> None:
    """Show the trials that were over before as what they are."""
    from train.ray_trial import ending

    names = {trial["name"] for trial in left}
    for trial in settings["trials"]:
        if trial["name"] not in names:
            ended = ending(store, trial["name"])
            board.lines[trial["name"]].status = ended["status"] if ended else "waiting"


def _shared(
    args: argparse.Namespace, settings: Mapping[str, Any], store: Store, images: Any,
    resources: tuple[float, float], *, scratch: str,
) -> Share:  # fmt: skip
    from train import ray_steps
    from train.ray_trial import Share

    cpus, gpus = resources
    workers = settings["workers"]
    loaders = args.loaders if args.loaders is not None else max(0, int(cpus / workers) - 1)
    about = {name: settings[name] for name in ("data", "data_root", "data_settings")}
    return Share(
        data=images, out=store.place, settings={**about, "processes": workers}, cpus=cpus,
        gpus=gpus, workers=workers, loaders=loaders,
        retries=3 if args.retries is None else args.retries,
        cuda=workers > 1 and gpus > 0 and real_gpus(gpus / workers), scratch=scratch,
        steps=ray_steps.start(),
    )  # fmt: skip


def _resources(args: argparse.Namespace, settings: Mapping[str, Any]) -> tuple[float, float]:
    """GPUs and CPUs of a trial; ValueError where no node can give them."""
    workers = settings["workers"]
    gpus, cpus = args.gpus_per_trial, args.cpus_per_trial
    if gpus is None:
        gpus = float(workers) if total("GPU") else 0.0
    if cpus is None:
        cpus = float(workers)
    check_fits(cpus / workers, gpus / workers, count=workers)
    share = gpus / workers
    if workers == 1 and share > 1:
        raise ValueError(
            f"--gpus-per-trial: {gpus:g} is not allowed; one process uses one GPU or a part of "
            f"it: use 1, or {math.ceil(gpus)} with --workers-per-trial {math.ceil(gpus)}"
        )
    if workers > 1 and share not in (0, 1):
        raise ValueError(
            f"--gpus-per-trial: {workers} processes of a trial cannot share {gpus:g} GPUs; "
            f"use {workers}, or 0"
        )
    return gpus, cpus


def _opening(
    settings: Mapping[str, Any], store: Store, data: Data, shared: Share, left: Sequence[Any]
) -> None:
    """One paragraph on stderr: what is going to be trained, on what, how, and where."""
    held = f", {len(data.minival):,} held out of them" if data.minival else ""
    trials = settings["trials"]
    recipe, again = Recipe.from_dict(trials[0]["recipe"]), len(trials) - len(left)
    asha = settings["scheduler"] == "asha"
    length = described(recipe, len(data.train), judged=settings["grace"] if asha else 0)
    warning = too_short(recipe, len(data.train))
    over = f"; {again} already finished" if again else ""
    stop = "all to the end"
    if asha:
        stop = f"one of {settings['factor']:g} goes on at each rung from epoch {settings['grace']}"
    device = f"{shared.gpus:g} GPU, " if shared.gpus else ""
    print_err(
        f"trials: {len(trials)}{over}; {stop}",
        f"data {data.name}: {len(data.classes)} classes, {len(data.train):,} training images{held}",
        f"recipe {recipe.name}: {length}, of batch {recipe.batch}; a trial "
        f"has {device}{shared.cpus:g} CPU, {shared.workers} process"
        f"{'es' if shared.workers > 1 else ''}",
        f"{capacity(shared)} trials fit at once; results go to {shell_word(store.place)}",
    )
    if warning:
        print_err(warning)
