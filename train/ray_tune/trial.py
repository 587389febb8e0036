"""A trial: one of many trainings, run on a node of a Ray cluster.

A trial is trained by `train.loop.train_by_epochs` in its folder of the store. It is resumed from
the files there if its node dies or the whole run is started again. Its learning curve is written
before it is reported.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture
from train import record
from train.checkpoint import BrokenCheckpoint
from train.execution import Execution
from train.loggers.base import Logged
from train.loggers.catalog import Loggers
from train.logs import write_curves_csv
from train.loop import Report, Result, train_by_epochs
from train.predictions import predicted_of, write_test_predictions
from train.ray_tune.steps import Sender
from train.ray_tune.store import Store
from train.ray_tune.trial_record import Row, end, ending, folder_of, progress_row
from train.recipe import Recipe
from vbs.failures import is_infrastructure, reason_of
from vbs.figure import attempt

if TYPE_CHECKING:
    from train.data import Data

OnEpoch = Callable[[Row], None]

# parts of the messages of gloo and NCCL after another process of the trial has ended
PEERS = (
    "gloo",
    "nccl",
    "connection reset by peer",
    "connection closed by peer",
    "broken pipe",
)
RECORDED = 10.0  # seconds to wait for the first process to record a failure


class Over(Exception):
    """Raised if Ray Tune has ended the trial while its processes still train."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Settings and resources that all trials share.

    data        reference of a `train.data.Data` in Ray's object store.
    settings    plain data for the trials' records.
    cpus, gpus  of a trial, divided evenly among its processes.
    loaders     processes that decode streamed images, for each process of a trial.
    cuda        whether a trial has several processes on real GPUs (tests declare fake ones).
    retries     times that a trial is resumed after its process or node was lost.
    scratch     folder for Ray's own files.
    log         destinations of the curves, as in `train.loggers.catalog.make_logger`.
    steps       the actor of `train.ray_tune.steps` with the progress within epochs, or None.
    """

    data: Any
    out: str
    settings: Mapping[str, Any]
    cpus: float
    gpus: float
    processes: int
    loaders: int
    cuda: bool
    retries: int
    scratch: str
    log: tuple[str, ...] = ("tensorboard",)
    steps: Any = None


@dataclass(frozen=True)
class TrialProcess:
    """A process of a trial.

    on_epoch  gets the `progress_row` of every epoch after it is on disk.
    device    device to train on.
    where     node and GPUs of the process, for the trial's record.
    first     whether this process writes; the other processes of a trial write nothing.
    several   whether other processes train the trial together with this one.
    """

    on_epoch: OnEpoch
    device: str
    where: Mapping[str, Any]
    first: bool = True
    several: bool = False


def run_trial(config: Mapping[str, Any], *, shared: Share) -> None:
    """Run a trial of Ray Tune; `config["trial"]` is its entry in the plan."""
    import ray
    from ray import tune

    trial = config["trial"]
    if shared.processes > 1:
        return _together(trial, shared)
    process = TrialProcess(tune.report, _device(shared), _place())
    work(trial, ray.get(shared.data), shared, process)


def _together(trial: Mapping[str, Any], shared: Share) -> None:
    """Run the trial with several processes on one or several nodes, by Ray Train (DDP)."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    resources = {"CPU": shared.cpus / shared.processes, "GPU": shared.gpus / shared.processes}
    trainer = TorchTrainer(
        functools.partial(_one_of_several, dict(trial), shared),
        scaling_config=ScalingConfig(
            num_workers=shared.processes, use_gpu=shared.gpus > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=trial["name"],
            storage_path=shared.scratch,
            callbacks=[TuneReportCallback()],
            failure_config=FailureConfig(max_failures=0),  # Tune starts the whole again
        ),
        torch_config=TorchConfig(backend="nccl" if shared.cuda else "gloo"),
    )
    try:
        trainer.fit()
    except Exception:
        # an error of the training itself is recorded as its result; a lost process is not
        if ending(Store(shared.out), trial["name"]) is None:
            raise


def _one_of_several(trial: Mapping[str, Any], shared: Share) -> None:
    import ray
    import ray.train
    from ray.train.torch import get_device

    if ending(Store(shared.out), trial["name"]) is not None:
        return  # its recorded failure would occur again
    device = str(get_device()) if shared.cuda else "cpu"
    first = ray.train.get_context().get_world_rank() == 0
    process = TrialProcess(ray.train.report, device, _place(), first, several=True)
    work(trial, ray.get(shared.data), shared, process)


def work(trial: Mapping[str, Any], data: Data, shared: Share, process: TrialProcess) -> None:
    """Train the trial, from its last checkpoint if there is one, and record how it ended.

    Errors that the trial does not cause are raised and not recorded, so that it is tried again: a
    storage that is unavailable or full, or the loss of another process of the trial. With several
    processes, failures are raised after they are recorded, because the others wait for this one.
    """
    import torch

    torch.set_num_threads(max(1, int(shared.cpus / shared.processes)))
    store, path = Store(shared.out), folder_of(trial["name"])
    began, several = time.monotonic(), process.several
    with store.folder(path) as (folder, save):
        with _loggers(trial, shared, folder) as loggers:
            report = TrialReporter(store, trial["name"], folder, save, process, loggers)
            if process.first and shared.steps is not None:
                report.send = Sender(shared.steps, trial["name"])
            try:
                result = report.follow(_epochs(trial, data, shared, process, folder, report))
            except Exception as error:
                if isinstance(error, BrokenCheckpoint):
                    store.remove(f"{path}/last.safetensors")  # the retry starts from the beginning
                ours = isinstance(error, BrokenCheckpoint | Over)
                if ours or is_infrastructure(error) or (several and _of_another(error)):
                    raise
                _failed(store, trial, shared, report.rows, error, process)
                return
            finally:
                if process.device != "cpu" and torch.cuda.is_available():
                    torch.cuda.empty_cache()  # the process runs further trials, on a shared GPU
            if process.first:
                if data.test is not None and result.network is not None and not result.failed:
                    _predict(
                        folder, data, Recipe.from_dict(trial["recipe"]), result, process.device
                    )
                loggers.finish(result.scores, [folder / "curves.csv"])
        if process.first:
            save()
            _finish(store, trial, shared, result, time.monotonic() - began)
        if several and result.failed:
            _await_ending(store, trial["name"])
            raise RuntimeError(result.failed)


def _epochs(
    trial: Mapping[str, Any],
    data: Data,
    shared: Share,
    process: TrialProcess,
    folder: Path,
    report: Report,
) -> Generator[Row, None, Result]:
    return train_by_epochs(
        Architecture.from_dict(trial["architecture"]),
        data,
        Recipe.from_dict(trial["recipe"]),
        execution=Execution(device=process.device, loaders=shared.loaders, checkpoint=folder),
        report=report,
    )


def _loggers(trial: Mapping[str, Any], shared: Share, folder: Path) -> Loggers:
    """Return the loggers of a trial; the project has the name of the folder of all trials."""
    settings = {**shared.settings, "network": trial["network"], **trial["recipe"]}
    network = Architecture.from_dict(trial["architecture"]).to_json()
    project = shared.out.rpartition("/")[2]
    return Loggers(
        shared.log, Logged(folder, settings, network, name=trial["name"], project=project)
    )


def _predict(folder: Path, data: Data, recipe: Recipe, result: Result, device: str) -> None:
    """Write test_predictions.parquet; a failure gives a warning."""

    def write() -> None:
        assert data.test is not None
        predicted = predicted_of(result, data.test, recipe, device)
        write_test_predictions(folder / record.PREDICTIONS, data.test, predicted, data.classes)

    attempt(record.PREDICTIONS, write, failed="is not written")


def _failed(
    store: Store,
    trial: Mapping[str, Any],
    shared: Share,
    rows: Sequence[Row],
    error: Exception,
    process: TrialProcess,
) -> None:
    """Record an exception; with several processes, raise it again."""
    if process.first:
        end(store, trial, shared.settings, rows, failed=reason_of(error))
    if process.several:
        _await_ending(store, trial["name"])
        raise error


def _of_another(error: Exception) -> bool:
    """Return whether an error shows that another process of the trial has ended."""
    from torch import distributed

    text = str(error).lower()
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in PEERS)
    )


def _await_ending(store: Store, name: str) -> None:
    """Wait for the first process to record a failure, because raising it ends all processes."""
    until = time.monotonic() + RECORDED
    while ending(store, name) is None and time.monotonic() < until:
        time.sleep(0.2)


def _finish(
    store: Store, trial: Mapping[str, Any], shared: Share, result: Result, seconds: float
) -> None:
    end(
        store,
        trial,
        shared.settings,
        result.history,
        failed=result.failed,
        chosen=result.chosen,
        steps=result.steps,
        seconds=round(result.seconds, 2),
        wall_seconds=round(seconds, 2),
        test=result.test._asdict() if result.test else None,
    )


class TrialReporter(Report):
    """Writes each epoch to the store, then reports it to Ray Tune.

    loggers  they are started with the training; the caller closes them.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        folder: Path,
        save: Callable[[], None],
        process: TrialProcess,
        loggers: Loggers,
    ) -> None:
        self._store, self._name, self._folder = store, name, folder
        self._save, self._several, self._loggers = save, process.several, loggers
        self._on_epoch, self._first = process.on_epoch, process.first
        self._where: list[Mapping[str, Any]] = [process.where]
        self._begun = False
        self.rows: list[Row] = []
        self.send: Callable[[int, int], None] | None = None

    def start(self, steps: int, history: Sequence[Row]) -> None:
        self.rows, self._begun = list(history), True
        if self._first:
            known = self._store.read(f"{folder_of(self._name)}/curve.json") or {}
            here = {**self._where[0], "after_epoch": len(history)}
            self._where = [*known.get("where", []), here]
            self._write()
            self._loggers.start(history[-1]["step"] if history else None)
        if history:
            self._on_epoch(progress_row(history[-1]))

    def step(self, step: int, steps: int, loss: float | None) -> None:
        if self.send is not None:
            self.send(step, steps)

    def follow(self, epochs: Generator[Row, None, Result]) -> Result:
        """Train through all epochs.

        Every process of the trial reports every new epoch, because Ray waits for all of them.
        Epochs from before a resume were reported already.
        """
        while True:
            try:
                row = next(epochs)
            except StopIteration as end:
                return end.value
            if self._begun:
                self._epoch(row)

    def _epoch(self, row: Row) -> None:
        self.rows.append(row)
        if self._first:
            # with several processes, Tune's decision to stop must be checked here
            if self._several and ending(self._store, self._name) is not None:
                raise Over(f"trial {self._name} is over")
            self._loggers.epoch(row)
            write_curves_csv(self._folder, self.rows)
            self._save()
            self._write()
        self._on_epoch(progress_row(row))

    def _write(self) -> None:
        content = record.finite({"rows": self.rows, "where": self._where})
        self._store.write(f"{folder_of(self._name)}/curve.json", content)


def _place() -> dict[str, Any]:
    """Return this process, its node and its GPUs."""
    import ray

    context = ray.get_runtime_context()
    return {
        "node": ray.util.get_node_ip_address(),
        "node_id": context.get_node_id(),
        "gpus": context.get_accelerator_ids().get("GPU", []),
        "process": os.getpid(),
        "began": round(time.time(), 3),
    }


def _device(shared: Share) -> str:
    return "auto" if shared.gpus > 0 else "cpu"
