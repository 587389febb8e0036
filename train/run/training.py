"""Training in a folder, shared by train.run and the students of Noisy Student."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.data import Data
from train.distributed import World
from train.execution import Execution
from train.loggers.base import Logged
from train.loggers.catalog import Loggers
from train.loop import train
from train.options import loaders_of
from train.report import Reporter, print_preview, write_predictions
from train.run.page import page
from train.run.record import Training
from train.run.result import TrainResult
from train.scored import scored_images
from vbs import signals
from vbs.console import print_err
from vbs.load import LoadWatch
from vbs.page.parts import write_page

if TYPE_CHECKING:
    from search_spaces.network import Network

# files that loggers upload
KEPT = ("run.json", "curves.csv", "curves.png", "confusion.png", "mistakes.png", "report.html")
STOPPING = "stopping after the current step; press Ctrl-C again to stop now, without saving"


def train_in_folder(
    training: Training, data: Data, folder: Path, here: World, *, initial: Network | None = None
) -> TrainResult:
    """Train, or resume from the checkpoint in the folder; write run.json and figures.

    initial  the initial network; None: random weights.
    """
    config, architecture, recipe = training.config, training.architecture, training.recipe
    if here.first:
        training.write(folder, status="running")
        print_preview(folder, architecture, data, recipe, here)
        here.wait()
    watch = LoadWatch()
    execution = Execution(device=config.device, loaders=loaders_of(config), checkpoint=folder)
    logged = Logged(folder, {**config.settings(), **recipe.to_dict()}, architecture.to_json())
    with Loggers(config.log, logged) as loggers:
        with (
            Interrupts(main=here.first) as interrupts,
            Reporter(folder, recipe, here, interrupts.came, loggers) as report,
        ):
            outcome = train(
                architecture, data, recipe, execution=execution, initial=initial, report=report
            )
        result = TrainResult(
            folder,
            training,
            outcome,
            scored_images(data),
            watch.load(),
            load_reported=report.load_reported,
            main=here.first,
        )
        if here.first:
            _write(result, data)
            if not outcome.failed:  # figures last, after all other files
                title = f"{config.network} on {data.name}, recipe {recipe.name}"
                write_predictions(folder, outcome, data, recipe, title=title, device=config.device)
                write_page(folder, lambda: page(folder))
                loggers.finish(outcome.scores, [folder / name for name in KEPT])
    return result


def _write(result: TrainResult, data: Data) -> None:
    """Write the outcome of a run to run.json."""
    outcome, waited = result.outcome, result.load.waited
    result.training.write(
        result.folder,
        status=result.status,
        failed=outcome.failed,
        chosen=outcome.chosen,
        steps=outcome.steps,
        epochs=len(outcome.history),
        seconds=round(outcome.seconds, 2),
        # since this start, over all threads: shows how much other programs slowed the training
        waited_seconds=None if waited is None else round(waited, 2),
        test=outcome.test._asdict() if outcome.test else None,
        last=outcome.history[-1] if outcome.history else None,
        skipped=_skipped(data),
        images=result.images,
    )


def _skipped(data: Data) -> list[str]:
    """Return the unreadable files, found at the start or during training."""
    splits = [split for split in (data.train, data.minival, data.test) if split is not None]
    met = [name for split in splits for name in split.unreadable]
    return list(dict.fromkeys([*data.skipped, *met]))


class Interrupts:
    """Handlers for Ctrl-C, SIGTERM and SIGHUP, which end the run after its current step.

    main  whether this process reports the first Ctrl-C; of several processes, only one does.
    """

    def __init__(self, *, main: bool = True) -> None:
        self._main, self._came = main, False

    def came(self) -> bool:
        """Return whether one of them was received."""
        return self._came

    def __enter__(self) -> Interrupts:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in signals.ENDING:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self._came and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C ends the run immediately
        self._came = True
        if self._main and number == signal.SIGINT:
            # from a thread: the signal may have come while the main thread holds a lock of stderr
            threading.Thread(target=print_err, args=(STOPPING,), daemon=True).start()
