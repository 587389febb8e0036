"""A logger of your own: a line of JSON for each epoch.

    python my_logger.py imagefolder:photos

A logger gets a name in `LOGGERS`; a training then takes it as any other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from train import TrainConfig, run_training
from train.loggers.base import Logged, Logger, numbers
from train.loggers.catalog import LOGGERS, Entry
from train.logs import Row


class JsonLines(Logger):
    """Appends to epochs.jsonl in the folder of the training."""

    def start(self, run: Logged) -> None:
        """Begin, or resume where `run.resumed_at` is set."""
        self._path = run.folder / "epochs.jsonl"

    def epoch(self, row: Row) -> None:
        """Add the numbers of an epoch."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": row["step"], **numbers(row)}) + "\n")

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        """Add the final scores, in percent."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"scores": dict(scores)}) + "\n")


if __name__ == "__main__":
    LOGGERS["jsonlines"] = Entry("my_logger:JsonLines")
    config = TrainConfig(
        network="mobilenet_v2",
        data=sys.argv[1],
        width=0.1,
        log=("jsonlines",),
        changes=("epochs=2", "batch=16"),
        device="cpu",
    )
    run_training(config, out="runs/logged")
