"""Start of a run: a new one from a config, or an earlier one from the record in its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vbs.config import Config
from vbs.config_file import check_call
from vbs.folder import resumed_folder
from vbs.options import Command


@contextlib.contextmanager
def opened_run(
    command: Command,
    config: Config | None,
    *,
    out: str | Path | None,
    resume: bool,
    changes: Mapping[str, Any] | None,
    lock: bool = True,
) -> Iterator[Path | None]:
    """Yield the folder of the run to resume, locked inside the block; None for a new run.

    A new run takes a config; a resumed run takes a folder and changes.

    lock  whether this process locks the folder; of several processes, only one does.

    Raises TypeError or ValueError for any other combination of arguments, and ValueError if
    another process uses the folder.
    """
    check_call(command.config, config, resume=resume, changes=changes)
    place = None if out is None else str(out)
    with resumed_folder(place, resume=resume and lock, command=command.program):
        if resume and not place:
            raise ValueError(f"resume: the folder of the {command.noun} is missing; use --out DIR")
        yield Path(place) if resume and place else None
