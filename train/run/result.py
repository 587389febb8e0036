"""What a training has come to."""

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
    """How a training ended, and where its files are.

    training  with everything that was left open: the network, the recipe and the images.
    outcome   weights, learning curve and scores.
    images    how many images accuracies were read on, see `train.scored.scored_images`.
    load      of the machine meanwhile.
    main      whether this process wrote the folder; other processes of torchrun do not.
    """

    folder: Path
    training: Training
    outcome: Result
    images: dict[str, Any]
    load: Load
    main: bool = True

    @property
    def config(self) -> TrainConfig:
        """The options."""
        return self.training.config

    @property
    def status(self) -> str:
        """ "finished", "interrupted" or "failed"."""
        if not self.outcome.failed:
            return "finished"
        return "interrupted" if self.outcome.failed == "interrupted" else "failed"

    @property
    def reason(self) -> str:
        """Why it ended early; "" where it did not."""
        return self.outcome.failed

    @property
    def exit_code(self) -> int:
        """That of the command line."""
        return {"finished": 0, "interrupted": INTERRUPTED}.get(self.status, FAILED)
