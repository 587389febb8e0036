"""Logger for MLflow: a run with parameters, metrics and files.

It uses the tracking server of MLFLOW_TRACKING_URI, by default mlflow.db beside the folders of the
runs. Source: https://mlflow.org/docs/latest/ml/tracking/tracking-api, of MLflow 3.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.loggers.base import Logged, Logger, id_file, numbers
from train.logs import Row

LONGEST = 500  # most characters of a parameter that all MLflow servers accept


class MlflowLogger(Logger):
    """A logger by MLflow's client, which has no global state and does not affect an active run."""

    def start(self, run: Logged) -> None:
        from mlflow import MlflowClient

        self._ended, place = False, run.folder.resolve().parent
        self._client = MlflowClient(
            os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
        )
        kept = run.folder / id_file("mlflow")
        if run.resumed_at is not None and kept.exists():
            self._run = kept.read_text().strip()
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(
            self._experiment(run, place), run_name=run.name
        ).info.run_id
        kept.write_text(self._run)
        for name, value in run.settings.items():
            self._client.log_param(self._run, name, str(value)[:LONGEST])
        self._client.log_text(self._run, run.network, "architecture.json")

    def _experiment(self, run: Logged, place: Path) -> str:
        """Return the experiment of the runs' folder; create it if needed."""
        known = self._client.get_experiment_by_name(run.project)
        if known is not None:
            return str(known.experiment_id)
        own = None if "MLFLOW_TRACKING_URI" in os.environ else (place / "mlartifacts").as_uri()
        return str(self._client.create_experiment(run.project, artifact_location=own))

    def epoch(self, row: Row) -> None:
        self._log(numbers(row), int(row["step"] or 0))

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        self._log(scores, 0)
        for path in filter(Path.is_file, files):
            self._client.log_artifact(self._run, str(path))
        self._end("FINISHED")

    def close(self) -> None:
        if not self._ended:  # interrupted or failed
            self._end("KILLED")

    def _end(self, status: str) -> None:
        self._client.set_terminated(self._run, status=status)
        self._ended = True

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics: list[Any] = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)
