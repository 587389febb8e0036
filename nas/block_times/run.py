"""Measurement of a table of block times from its config: `measure_block_times`."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from nas.block_times.config import BlockTimesConfig
from nas.block_times.lookup import cached_path, measured, setting_of
from nas.block_times.table import Times
from nas.data_space import space_without_images
from search_spaces.space import SearchSpace
from vbs.lock import owned


@dataclass(frozen=True)
class BlockTimesResult:
    """A measured table of block times.

    path    file of the table.
    space   space of the networks, without measured costs.
    config  options with all defaults resolved.
    """

    times: Times
    path: Path
    space: SearchSpace
    config: BlockTimesConfig

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return 0


def measure_block_times(config: BlockTimesConfig) -> BlockTimesResult:
    """Measure every block of a space, and write the table to a file.

    Raises ValueError for options that contradict each other, and if the file cannot be written or
    another process is writing it.
    """
    config, the_space = space_without_images(config)
    setting = setting_of(config)
    path = cached_path(the_space, setting) if config.file is None else Path(config.file)
    if path.is_dir() or (config.file is not None and not os.access(path.parent, os.W_OK)):
        raise ValueError(f"--out: {path} cannot be written")
    with contextlib.suppress(OSError):  # a table that cannot be written is still printed
        path.parent.mkdir(parents=True, exist_ok=True)
    place = path.parent if os.access(path.parent, os.W_OK) else None
    with owned(place, "nas.block_times", name=f".{path.name}.owner.json"):
        times = measured(the_space, setting, path, seconds=config.seconds)
    return BlockTimesResult(times, path, the_space, config)
