"""What a self-training has come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.noisy_student.config import NoisyStudentConfig
from train.noisy_student.record import Row
from vbs.command import FAILED, INTERRUPTED


@dataclass(frozen=True)
class NoisyStudentResult:
    """How the rounds ended, and where their files are.

    networks  the teacher and the students that were trained: "name", "run" (the folder),
              "minival" and "test" (top-1 in percent), "kept" (images of each class) and "agreement"
              (percent of the unlabelled images that a student and its teacher put in one class).
    status    "finished", "interrupted" or "failed"; reason says why.
    """

    folder: Path
    config: NoisyStudentConfig
    networks: Sequence[Row]
    status: str
    reason: str

    @property
    def exit_code(self) -> int:
        """That of the command line."""
        return {"finished": 0, "interrupted": INTERRUPTED}.get(self.status, FAILED)
