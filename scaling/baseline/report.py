"""What a baseline has found."""

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
    """A baseline, and where its files are.

    config  with everything that was left open, so that it repeats the baseline.
    page    report.html, which needs nothing beside it.
    """

    folder: Path
    config: BaselineConfig
    page: Path
    exit_code: ClassVar[int] = 0

    @property
    def best(self) -> Architecture:
        """The network that was found."""
        return Architecture.from_dict(best_record(self.folder)["architecture"])

    @property
    def members(self) -> Mapping[str, Mapping[str, Any]]:
        """The trainings of the members of the family, as plain data by name, smallest first."""
        return trained_members(self.folder)


def show_result(result: BaselineResult | int) -> None:
    """Print where the page is; nothing after a dry run."""
    if not isinstance(result, int):
        print_out("", f"report: {shell_word(str(result.page))}")
