"""Printed report of a training: its result as a table, and the next commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from train.report import waiting_note
from train.run.config import COMMAND
from train.run.result import TrainResult
from train.scored import ERROR_NOTE, with_error
from vbs import lock
from vbs.command import module_command
from vbs.console import print_err, print_results
from vbs.options import words_of
from vbs.tables import Console, Table
from vbs.units import clock


def show_result(result: TrainResult | int) -> None:
    """Print the result as a table, its folder and the next commands; failures on stderr.

    Each top-1 accuracy has the binomial error of its number of images.
    """
    if isinstance(result, int) or not result.main:
        return
    outcome, images, load = result.outcome, result.images, result.load
    console = Console()
    if outcome.failed:
        print_err(f"train.run: {outcome.failed}")
    table = Table(box=None, pad_edge=False)
    for name in ("", "top-1", "top-5", "loss"):
        table.add_column(name, justify="right" if name else "left")
    if "top1" in outcome.chosen:
        row = outcome.history[outcome.chosen["epoch"] - 1]
        kind = "ema" if outcome.chosen["weights"] == "ema" else "val"
        scores = [row[f"{kind}_{name}"] for name in ("top1", "top5", "loss")]
        table.add_row("minival", *_shown(scores, images["minival"]))
    if outcome.test is not None:
        scores = [outcome.test.top1, outcome.test.top5, outcome.test.loss]
        table.add_row("test", *_shown(scores, images["test"]))
    if table.row_count:
        console.print(table)
        console.print(ERROR_NOTE)
    if outcome.chosen:
        kind = "their moving average" if outcome.chosen["weights"] == "ema" else "as trained"
        console.print(f"weights of epoch {outcome.chosen['epoch']}, {kind}")
    if outcome.steps and outcome.history:
        speed = outcome.history[-1]["images_per_second"]
        console.print(
            f"{clock(outcome.seconds)} of training in all, {clock(load.seconds)} for this run; "
            f"{speed:,.0f} images/s in the last epoch"
        )
    for note in _notes(result):
        console.print(note)
    print_results(result.folder, _present(result.folder), _next_commands(result))


def _notes(result: TrainResult) -> list[str]:
    """Return a note if other programs slowed the training down, and advice if top-1 is low."""
    waiting = "" if result.load_reported else waiting_note(result.load)
    notes = [waiting] if waiting else []
    training, test = result.training, result.outcome.test
    chance = 100 / training.architecture.classes
    if test and not training.config.init and test.top1 <= min(2 * chance, chance + 10):
        notes.append(
            f"the test accuracy is near chance ({chance:.3g}%); train for more epochs (--set "
            "epochs=N), or start from pretrained weights (tf_efficientnet_lite0 --recipe finetune "
            "--init package:efficientnet_lite0)"
        )
    return notes


def _next_commands(result: TrainResult) -> list[str]:
    """Return the next commands for a run, to be pasted into a shell."""
    folder = result.folder
    if result.status == "finished":
        words = [["train.export", str(folder), "--to", kind] for kind in ("timm", "onnx")]
        words.append(["train.predict", str(folder), "IMAGES"])
        return [module_command(command) for command in words]
    training = result.training
    if result.status == "interrupted":
        return [training.command("--resume", "--out", str(folder))]
    # a failed run would fail again, so its options must be changed, in another folder
    changed = words_of(COMMAND, result.config, out=f"{folder}-2")
    return [f"{training.command(*changed)} --set ..."]


def _shown(scores: Sequence[float], images: int | None) -> list[str]:
    top1, top5, loss = scores
    return [with_error(top1, images), f"{top5:.2f}%", f"{loss:.4f}"]


def _present(folder: Path) -> list[str]:
    names = (path for path in folder.iterdir() if not path.name.startswith("."))
    files = sorted(path for path in names if path.name != lock.FILE)
    return [path.name + ("/" if path.is_dir() else "") for path in files]
