"""Result of a baseline, and its printed summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from scaling.baseline.config import BaselineConfig
from scaling.baseline.networks import best_record, trained_members
from search_spaces.architecture import Architecture
from vbs.console import print_out
from vbs.text import shell_word


@dataclass(frozen=True)
class BaselineResult:
    """Result of a baseline.

    folder  folder of all files.
    config  config with all defaults resolved, so that it repeats the baseline.
    page    path of report.html.
    """

    folder: Path
    config: BaselineConfig
    page: Path
    exit_code: ClassVar[int] = 0

    @property
    def best(self) -> Architecture:
        """The best network found."""
        return Architecture.from_dict(best_record(self.folder)["architecture"])

    @property
    def members(self) -> Mapping[str, Mapping[str, Any]]:
        """Training results of the family's members as plain data by name, smallest first."""
        return trained_members(self.folder)


def show_result(result: BaselineResult | int) -> None:
    """Print the path of the report; nothing after a dry run."""
    if not isinstance(result, int):
        print_out("", f"report: {shell_word(str(result.page))}")
