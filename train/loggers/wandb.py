"""Logger for Weights & Biases; the project is the runs' folder. WANDB_MODE=offline is supported.

Source: https://docs.wandb.ai/ref/python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.loggers.base import Logged, Logger, id_file, numbers
from train.logs import Row


class WandbLogger(Logger):
    """A logger of curves against the optimizer step, of figures and of files."""

    def start(self, run: Logged) -> None:
        import wandb

        kept = run.folder / id_file("wandb")
        known = kept.read_text().strip() if run.resumed_at is not None and kept.exists() else None
        self._run: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=known,
            resume="allow" if known else None,
            dir=str(run.folder),
            config={**run.settings, "architecture": json.loads(run.network)},
            settings=wandb.Settings(console="off", silent=True),
        )
        kept.write_text(self._run.id)
        self._run.define_metric("*", step_metric="step")

    def epoch(self, row: Row) -> None:
        self._run.log({**numbers(row), "step": int(row["step"] or 0)})

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        import wandb

        self._run.summary.update(dict(scores))
        pictures = {path.stem: wandb.Image(str(path)) for path in files if _is_picture(path)}
        if pictures:
            self._run.log(pictures)
        kept = wandb.Artifact(f"results-{self._run.id}", type="results")
        for path in files:
            if path.suffix != ".png" and path.is_file():
                kept.add_file(str(path))
        self._run.log_artifact(kept)

    def close(self) -> None:
        self._run.finish()


def _is_picture(path: Path) -> bool:
    return path.suffix == ".png" and path.is_file()
