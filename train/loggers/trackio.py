"""Logger for Trackio of Hugging Face, in a local database; the project is the runs' folder.

Source: https://huggingface.co/docs/trackio/api.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.loggers.base import Logged, Logger, numbers
from train.logs import Row


class TrackioLogger(Logger):
    """A logger of curves, figures and the configuration; Trackio does not store other files."""

    def start(self, run: Logged) -> None:
        import trackio

        self._run: Any = trackio.init(
            project=run.project,
            name=run.name,
            config={**run.settings, "architecture": json.loads(run.network)},
            resume="never" if run.resumed_at is None else "allow",
            embed=False,
        )

    def epoch(self, row: Row) -> None:
        self._run.log(numbers(row), step=int(row["step"] or 0))

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        import trackio

        pictures = {
            path.stem: trackio.Image(str(path))
            for path in files
            if path.is_file() and path.suffix == ".png"
        }
        self._run.log({**scores, **pictures})

    def close(self) -> None:
        self._run.finish()
