"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.run.record import Training
from vbs.command import FAILED, INTERRUPTED
from vbs.load import Load

if TYPE_CHECKING:
    from train.loop import Result
    from train.run.config import TrainConfig


@dataclass(frozen=True)
class TrainResult:
    """The result of a training, and where its files are.

    training  the complete description: network, recipe and images.
    outcome   weights, learning curve and scores.
    images    numbers of images behind the accuracies, see `train.scored.scored_images`.
    load      load of the machine during the training.
    main      whether this process wrote the folder; False in other processes of torchrun.
    load_reported  whether waiting threads were reported during the training.
    """

    folder: Path
    training: Training
    outcome: Result
    images: dict[str, Any]
    load: Load
    main: bool = True
    load_reported: bool = False

    @property
    def config(self) -> TrainConfig:
        """The options."""
        return self.training.config

    @property
    def status(self) -> str:
        """Status of the run: "finished", "interrupted" or "failed"."""
        if not self.outcome.failed:
            return "finished"
        return "interrupted" if self.outcome.failed == "interrupted" else "failed"

    @property
    def reason(self) -> str:
        """Why it ended early; "" if it did not."""
        return self.outcome.failed

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return {"finished": 0, "interrupted": INTERRUPTED}.get(self.status, FAILED)
