"""Result of a comparison of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.compare.comparison import SearchComparison
from nas.compare.config import CompareConfig


@dataclass(frozen=True)
class CompareResult:
    """Result of a comparison of strategies or of finished searches.

    folder      folder of the files.
    config      options, from which the comparison can be repeated.
    comparison  best rewards of the groups.
    searches    strategy or group -> folders of its searches.
    seconds     duration of this run.
    """

    folder: Path
    config: CompareConfig
    comparison: SearchComparison = field(repr=False)
    searches: Mapping[str, tuple[Path, ...]]
    seconds: float
    exit_code: int = 0
