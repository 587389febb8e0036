"""The training loop, for one device or many.

No state of a random generator is saved: the order of an epoch is drawn from (seed, epoch), the
augmentation and dropout of a step from (seed, step). A run that is resumed from its last checkpoint
therefore equals an uninterrupted one (bit for bit on a CPU), and a step whose batch is divided
among devices or accumulated sees the same images as one that is not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.network import Network
from train.checkpoint import BrokenCheckpoint
from train.compiled_code import share_compiled_code
from train.data import Data, Split
from train.distributed import World, world
from train.evaluate import Inference, Score, evaluate
from train.execution import DEFAULT, Execution
from train.failures import Stopped, calmer, is_sound, out_of_memory
from train.memory_use import begin_run, peak_megabytes
from train.optimizer import learning_rate, set_learning_rate
from train.optimizer_step import optimizer_step, side_of_images
from train.progressive import Phase, first_epoch, phase
from train.recalibrate import is_early, recalibrate
from train.recipe import Recipe
from train.state import (
    Run,
    batches_of_step,
    begin,
    choose,
    resolved,
    restore,
    save,
    share_of,
)
from train.steps import augmentation, order_of, parts
from vbs.failures import is_out_of_memory

SAVE_EVERY = 300.0  # seconds between checkpoints inside an epoch
CHECK_EVERY = 20  # steps between checks of the loss on a GPU, because each check synchronises


class Report:
    """Callbacks of a training; override those that are needed."""

    def start(self, steps: int, history: Sequence[dict[str, Any]]) -> None:
        """Handle the start of a training, before the first step.

        steps    optimizer steps of the whole run.
        history  rows of the epochs that a resumed run has already finished.
        """

    def step(self, step: int, steps: int, loss: float | None) -> None:
        """Handle an optimizer step; `loss` is None if reading it would synchronise the device."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Handle the end of an epoch, with its row of the history."""

    def stop(self) -> bool:
        """Return whether to save and stop; called after every step."""
        return False


@dataclass(frozen=True)
class Result:
    """The result of a training.

    network   the network with the chosen weights: the latest that are within a standard error of
              the best on the minival (`train.state.choose`), or the last ones without a minival
              (their moving average, if the recipe has one). None if no step was trained.
    history   a row for each epoch: losses, accuracies (percent), seconds of training so far
              (without evaluation), images per second.
    chosen    epoch, "raw" or "ema", and minival score of the chosen weights, and the best minival
              accuracy of all epochs.
    test      score on the test split; None without a test split.
    failed    why the run ended early; "" if it did not.
    """

    network: Network | None
    history: tuple[dict[str, Any], ...]
    chosen: dict[str, Any]
    test: Score | None
    steps: int
    seconds: float
    failed: str = ""

    @property
    def scores(self) -> dict[str, float]:
        """Known final scores in percent, by name: minival_top1, test_top1 and test_top5."""
        scores = {"minival_top1": self.chosen.get("top1")}
        if self.test is not None:
            scores |= {"test_top1": self.test.top1, "test_top5": self.test.top5}
        return {name: float(value) for name, value in scores.items() if value is not None}


def train(
    architecture: Architecture,
    data: Data,
    recipe: Recipe,
    *,
    execution: Execution = DEFAULT,
    initial: Network | None = None,
    report: Report | None = None,
) -> Result:
    """Train a network on `data.train` by the recipe.

    The chosen weights are scored on `data.test` at the end, if there is such a split. The random
    state of the process is unchanged.

    initial  a network of the same architecture with the initial weights; it is not changed.

    Under torchrun every process calls this function, and only the first writes files. Raises
    ValueError if architecture, data, recipe and checkpoint do not match. Failures of the run
    itself (out of memory, a loss that is not a number) are reported in `Result.failed`.
    """
    epochs = train_by_epochs(
        architecture, data, recipe, execution=execution, initial=initial, report=report
    )
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            return end.value


def train_by_epochs(
    architecture: Architecture,
    data: Data,
    recipe: Recipe,
    *,
    execution: Execution = DEFAULT,
    initial: Network | None = None,
    report: Report | None = None,
) -> Generator[dict[str, Any], None, Result]:
    """Train like `train`, but yield the row of the history after every epoch.

    A resumed run first yields its earlier rows. The generator may be closed after any row: the
    checkpoint contains everything up to there. torch's random state is changed until the end.
    """
    checkpoint = execution.checkpoint
    recipe = resolved(recipe, architecture)
    if architecture.classes != len(data.classes):
        raise ValueError(
            f"classes: the network has {architecture.classes}, {data.name} has {len(data.classes)}"
        )
    if checkpoint is not None:
        checkpoint.mkdir(parents=True, exist_ok=True)
    with world(execution.device) as here, torch.random.fork_rng(_forked(here)):
        share_of(recipe, here)
        begin_run(here.device)
        run = begin(architecture, data, recipe, here, execution.loaders, initial)
        if checkpoint is not None and (checkpoint / "last.safetensors").exists():
            try:
                restore(run, checkpoint / "last.safetensors")
            except ValueError as error:
                raise BrokenCheckpoint(str(error)) from None
        yield from list(run.history)
        failed = yield from _failure(run, checkpoint, report or Report())
        test_score = None
        if not failed and data.test is not None:
            failed, test_score = _tested(run, data.test)
        return Result(
            run.network if run.step else None,
            tuple(run.history),
            dict(run.chosen),
            test_score,
            run.step,
            run.seconds,
            failed,
        )


def _failure(
    run: Run, checkpoint: Path | None, report: Report
) -> Generator[dict[str, Any], None, str]:
    """Train to the end and choose the weights; return why it ended early, "" if it did not."""
    try:
        yield from _epochs(run, checkpoint, report)
        failed = ""
    except Stopped as reason:
        failed = str(reason)
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        failed = "out of memory"
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        failed = "a batch norm got a single value for each channel; use more images at a time"
    if failed == "out of memory":
        # outside the except block the error, its traceback and their tensors are released
        failed = out_of_memory(run)
    run.network.load_state_dict(run.best or run.network.state_dict())
    run.network.eval()
    return failed


def _tested(run: Run, split: Split) -> tuple[str, Score | None]:
    """Score the chosen weights; return why that failed ("" if not) and the score."""
    score = _scored(run, run.network, split)
    if not math.isfinite(score.loss):
        return f"the loss on the test split is not a number{calmer(run)}", None
    return "", score


def _forked(here: World) -> list[int]:
    return [here.device.index or 0] if here.device.type == "cuda" else []


def _epochs(run: Run, folder: Path | None, report: Report) -> Generator[dict[str, Any], None, None]:
    recipe, data = run.recipe, run.data
    if len(data.train) < recipe.batch:
        raise Stopped(
            f"too few images for a batch: {len(data.train):,} training images, batch "
            f"{recipe.batch:,}; use a batch of at most {len(data.train):,}"
        )
    per_epoch = len(order_of(run, 0))
    forward = _forward(run)
    report.start(per_epoch * recipe.epochs, tuple(run.history))
    # count rows, not steps: a run may have stopped between an epoch's last step and its evaluation
    for epoch in range(len(run.history), recipe.epochs):
        now = phase(recipe, epoch)
        run.network.dropout.p = now.dropout
        if run.average is not None:  # the averaged network must have the same dropout
            run.average.network.dropout.p = now.dropout
        _train_epoch(run, forward, epoch, now, folder, report)
        row = _row(run, epoch, now, per_epoch)
        if not is_sound(run, row):
            raise Stopped(f"the loss is not a number after epoch {epoch + 1}{calmer(run)}")
        choose(run, row, folder)
        if folder is not None:
            save(run, folder / "last.safetensors")
        if run.world.first:
            report.epoch(row)
        yield row


def _train_epoch(
    run: Run, forward: nn.Module, epoch: int, now: Phase, folder: Path | None, report: Report
) -> None:
    """Train the rest of an epoch, from `run.step` on."""
    order = order_of(run, epoch)
    done, steps = run.step - epoch * len(order), len(order) * run.recipe.epochs
    batches = run.data.train.batches(
        parts(run, order[done:]),
        augmentation(run.recipe, now, side=side_of_images(run, now)),
        device=run.world.device,
        workers=run.loaders,
    )
    saved = time.monotonic()
    begun = first_epoch(run.recipe, epoch) * len(order)
    run.norms.begin_at(begun * batches_of_step(run), near=run.pretrained or begun > 0)
    _training_mode(run)
    for _ in range(done, len(order)):
        started = time.perf_counter()
        set_learning_rate(run.optimizer, learning_rate(run.recipe, run.step, len(order)))
        loss = optimizer_step(run, forward, batches, now)
        known = _checked_loss(run, loss, epoch)
        run.step += 1
        run.seconds += time.perf_counter() - started
        run.epoch_seconds += time.perf_counter() - started
        if run.world.first:
            report.step(run.step, steps, known)
        stop = _stop_requested(run, report)
        if folder is not None and (stop or time.monotonic() - saved > SAVE_EVERY):
            save(run, folder / "last.safetensors")
            saved = time.monotonic()
        if stop:
            raise Stopped("interrupted")
    if run.world.device.type == "cuda":
        started = time.perf_counter()
        torch.cuda.synchronize(run.world.device)  # include kernels that are still running
        run.seconds += time.perf_counter() - started
        run.epoch_seconds += time.perf_counter() - started


def _forward(run: Run) -> nn.Module:
    """Return the network that the steps call: compiled, and wrapped for several processes."""
    forward: nn.Module = run.network
    if run.recipe.compile:
        share_compiled_code()
        forward = torch.compile(forward)
    if run.world.size > 1:
        on = [run.world.device] if run.world.device.type == "cuda" else None
        forward = nn.parallel.DistributedDataParallel(forward, device_ids=on)
    return forward


def _training_mode(run: Run) -> None:
    run.network.train()
    if run.recipe.train == "classifier":
        run.network.eval()  # frozen features keep their batch-norm statistics
        run.network.dropout.train()


def _checked_loss(run: Run, loss: Tensor, epoch: int) -> float | None:
    """Return the loss, or None between checks; raise Stopped if the training has diverged."""
    run.epoch_loss = run.epoch_loss + loss.double()
    here = run.world
    if (here.size > 1 or here.device.type != "cpu") and (run.step + 1) % CHECK_EVERY:
        return None
    # averaged over all processes, so that all of them stop after the same step
    value = float(here.total(loss.double())) / here.size
    # a loss far above that of chance does not recover in reasonable time
    if not math.isfinite(value) or value > 100 * math.log(len(run.data.classes) + 1):
        what = "not a number" if math.isnan(value) else f"exploding ({value:.3g})"
        raise Stopped(f"the loss is {what} at step {run.step + 1}, epoch {epoch + 1}{calmer(run)}")
    return value


def _stop_requested(run: Run, report: Report) -> bool:
    if run.world.size == 1:
        return report.stop()
    if run.step % CHECK_EVERY:
        return False
    # all processes must stop after the same step
    return bool(run.world.total(torch.tensor(float(report.stop()))) > 0)


def _row(run: Run, epoch: int, now: Phase, per_epoch: int) -> dict[str, Any]:
    """Evaluate on the minival and return the history's row of the epoch that has just ended."""
    if run.epoch_seconds <= 0:
        run.epoch_seconds = math.nan
    loss = run.world.total(torch.as_tensor(run.epoch_loss, dtype=torch.float64).clone())
    row: dict[str, Any] = {
        "epoch": epoch + 1,
        "step": run.step,
        "seconds": round(run.seconds, 3),
        "lr": learning_rate(run.recipe, run.step - 1, per_epoch),
        "resolution": now.resolution,
        "magnitude": now.magnitude,
        "mixup": now.mixup,
        "dropout": now.dropout,
        "train_loss": float(loss) / per_epoch / run.world.size,
    }
    minival = run.data.minival
    if is_early(run):
        recalibrate(run, run.network, now)
        if run.average is not None:
            recalibrate(run, run.average.network, now)
    run.world.equalise(run.network)
    if run.average is not None:
        run.world.equalise(run.average.network)
    if minival is not None:
        row |= _named("val", _scored(run, run.network, minival))
        if run.average is not None:
            row |= _named("ema", _scored(run, run.average.network, minival))
    rate = per_epoch * run.recipe.batch / run.epoch_seconds
    row["images_per_second"] = round(rate, 1)
    row["memory_mb"] = peak_megabytes(run.world.device)
    run.epoch_loss = run.epoch_seconds = 0.0
    run.history.append(row)
    return row


def _scored(run: Run, network: nn.Module, split: Split) -> Score:
    inference = Inference(loaders=run.loaders, precision=run.precision)
    return evaluate(network, split, run.preparation, world=run.world, inference=inference)


def _named(prefix: str, score: Score) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in score._asdict().items()}
