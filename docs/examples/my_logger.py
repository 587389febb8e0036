"""A logger of your own: a line of JSON for each epoch.

python -m train.run mobilenet_v2 --data imagefolder:photos --log my_logger.py:JsonLines csv
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from train.loggers.base import Logged, Logger, numbers
from train.logs import Row


class JsonLines(Logger):
    """Logger that appends to epochs.jsonl in the folder of the training."""

    def start(self, run: Logged) -> None:
        """Begin, or resume if `run.resumed_at` is set."""
        self._path = run.folder / "epochs.jsonl"

    def epoch(self, row: Row) -> None:
        """Add the numbers of an epoch."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": row["step"], **numbers(row)}) + "\n")

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        """Add the final scores, in percent."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"scores": dict(scores)}) + "\n")
