"""What an export has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from train.export.config import ExportConfig

if TYPE_CHECKING:
    from train.export.compare import Compared


@dataclass(frozen=True)
class ExportResult:
    """An exported network.

    source    the weights.
    path      the file or folder that was written.
    compared  how exactly it computes the network.
    """

    config: ExportConfig
    source: Path
    path: Path
    compared: Compared

    @property
    def exit_code(self) -> int:
        """That of the command line."""
        return 0
