"""The result of a self-training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.noisy_student.config import NoisyStudentConfig
from train.noisy_student.record import Row
from vbs.command import FAILED, INTERRUPTED


@dataclass(frozen=True)
class NoisyStudentResult:
    """The result of a self-training, and where its files are.

    networks  the teacher and the trained students: "name", "run" (the folder), "minival" and
              "test" (top-1 in percent), "kept" (images of each class) and "agreement" (percent of
              the unlabelled images that a student and its teacher put in the same class).
    status    "finished", "interrupted" or "failed".
    reason    why it did not finish.
    """

    folder: Path
    config: NoisyStudentConfig
    networks: Sequence[Row]
    status: str
    reason: str

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return {"finished": 0, "interrupted": INTERRUPTED}.get(self.status, FAILED)
