"""The result of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from train.export.config import ExportConfig
from vbs.command import FAILED

if TYPE_CHECKING:
    from train.export.compare import Compared
    from train.export.int8 import Quantised
    from train.export.measure import Measured


@dataclass(frozen=True)
class ExportResult:
    """An exported network.

    source      file of the weights.
    path        the file or folder that was written.
    program     a program that classifies photographs with it.
    compared    how exactly it computes the network; None for int8, whose logits differ.
    measured    accuracy, size and latency.
    unmeasured  why there are no images to measure the accuracy on; "" if there are.
    quantised   how it was quantised; None in float.
    pushed      address on the Hub; "" if it was not uploaded.
    not_pushed  why a requested upload failed; "" if it did not.
    """

    config: ExportConfig
    source: Path
    path: Path
    program: Path
    compared: Compared | None
    measured: Measured
    unmeasured: str = ""
    quantised: Quantised | None = None
    pushed: str = ""
    not_pushed: str = ""

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return FAILED if self.not_pushed else 0
