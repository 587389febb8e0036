"""Loggers of a training: their records, resuming, and failures that do not end the training."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from search_spaces.catalog import zoo
from tests.commands import train_run
from train.loggers import catalog
from train.loggers.base import Logged, Logger
from train.loggers.catalog import LOGGERS, Entry, Loggers, import_own
from train.logs import Row
from train.run.config import TrainConfig
from vbs.config import from_values

ROWS: list[Row] = [
    {"epoch": 1, "step": 10, "train_loss": 2.0, "val_top1": 40.0, "val_loss": None},
    {"epoch": 2, "step": 20, "train_loss": 1.5, "val_top1": 60.0, "val_loss": None},
]


def logged(place: Path) -> Logged:
    folder = place / "runs" / "train-1"
    folder.mkdir(parents=True, exist_ok=True)
    return Logged(folder, {"lr": 0.1, "data": "x" * 900}, zoo("mobilenet_v2").to_json())


def log(names: Sequence[str], run: Logged, rows: Sequence[Row], *, resumed: int | None) -> None:
    figure = run.folder / "curves.png"
    figure.write_bytes(b"\x89PNG")
    text = run.folder / "run.json"
    text.write_text("{}")
    with Loggers(names, run) as loggers:
        loggers.start(resumed)
        for row in rows:
            loggers.epoch(row)
        loggers.finish({"test_top1": 61.0}, [text])


@pytest.mark.slow
def test_mlflow_keeps_curves_scores_files_and_the_network(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    run = logged(tmp_path)
    log(["mlflow"], run, ROWS[:1], resumed=None)
    log(["mlflow"], run, ROWS[1:], resumed=10)  # continues the same run
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("runs")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "train-1"
    assert found.info.status == "FINISHED"
    curve = client.get_metric_history(found.info.run_id, "val_top1")
    assert [(each.step, each.value) for each in curve] == [(10, 40.0), (20, 60.0)]
    assert found.data.metrics["test_top1"] == 61.0
    assert "val_loss" not in found.data.metrics
    assert found.data.params["lr"] == "0.1"
    files = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert files == {"architecture.json", "run.json"}


@pytest.mark.slow
def test_an_interrupted_run_is_not_left_running(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    run = logged(tmp_path)
    with Loggers(["mlflow"], run) as loggers:
        loggers.start(None)  # finish is not called
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("runs").experiment_id])
    assert found.info.status == "KILLED"


@pytest.mark.slow
def test_wandb_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = logged(tmp_path)
    log(["wandb"], run, ROWS, resumed=None)
    (store,) = (run.folder / "wandb").glob("offline-run-*/run-*.wandb")
    until = time.monotonic() + 60  # its own process writes the file
    while b"test_top1" not in store.read_bytes() and time.monotonic() < until:
        time.sleep(0.2)
    content = store.read_bytes()
    assert b"val_top1" in content
    assert b"test_top1" in content


def test_trackio_keeps_curves_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # trackio reads it at import
    pytest.importorskip("trackio")
    run = logged(tmp_path)
    log(["trackio"], run, ROWS[:1], resumed=None)
    log(["trackio"], run, ROWS[1:], resumed=10)  # continues the same run
    with contextlib.closing(sqlite3.connect(tmp_path / "trackio" / "runs.db")) as database:
        rows = database.execute("select step, metrics from metrics where run_name = 'train-1'")
        known = {(step, *json.loads(values).items()) for step, values in rows}
    assert (10, ("epoch", 1.0), ("train_loss", 2.0), ("val_top1", 40.0)) in known
    assert (20, ("epoch", 2.0), ("train_loss", 1.5), ("val_top1", 60.0)) in known
    assert any(values == [("test_top1", 61.0)] for _, *values in known)


class Broken(Logger):
    """Raises an error in the method named by `where`."""

    where = ""

    def _fail(self, where: str) -> None:
        if self.where == where:
            raise RuntimeError("no route to host")

    def start(self, run: Logged) -> None:
        self._fail("start")

    def epoch(self, row: Row) -> None:
        self._fail("epoch")

    def finish(self, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        self._fail("finish")

    def close(self) -> None:
        self._fail("close")


@pytest.mark.parametrize("where", ["start", "epoch", "finish", "close"])
def test_a_logger_that_fails_is_left_out(
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Broken, "where", where)
    monkeypatch.setitem(LOGGERS, "broken", Entry(f"{__name__}:Broken"))
    run = logged(tmp_path)
    log(["broken", "tensorboard"], run, ROWS, resumed=None)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "warning: --log broken failed (RuntimeError: no route to host)" in error
    assert list((run.folder / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("names", "complaint"),
    [(("wandbb",), "did you mean wandb"), (("mlflow", "absent"), "pip install")],
)
def test_unknown_and_absent_loggers_are_refused(
    names: tuple[str, ...], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.LOGGERS, "absent", Entry("nowhere:Nothing", "no_such_package"))
    monkeypatch.setitem(catalog.LOGGERS, "mlflow", Entry("train.loggers.base:Logger"))
    with pytest.raises(ValueError, match=complaint):
        TrainConfig(network="mobilenet_v2", data="cifar10", log=names)


OWN = """
from train.loggers.base import Logger
class Lines(Logger):
    def epoch(self, row):
        with open("epochs", "a") as file:
            print(row["epoch"], file=file)
def nothing():
    return None
"""


def test_own_loggers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    import_own(["csv", "mine.py:Lines"])
    with pytest.raises(ValueError, match=r"log: mine\.py has no 'Line'; did you mean Lines"):
        import_own(["mine.py:Line"])
    log(["mine.py:Lines", "mine.py:nothing"], logged(tmp_path), ROWS, resumed=None)
    assert Path("epochs").read_text() == "1\n2\n"
    warning = "warning: --log mine.py:nothing failed (ValueError: log: mine.py:nothing is not a"
    assert capsys.readouterr().err.startswith(warning)


def test_a_record_does_not_run_own_loggers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("open('ran', 'w').close()\n")
    settings = {"network": "mobilenet_v2", "data": "cifar10", "log": ["csv", "evil.py:Lines"]}
    Path("options.json").write_text(json.dumps(settings))
    assert train_run(["--config", "options.json"]) == 2
    assert "names code, csv evil.py:Lines, which runs only if you give it again: --log csv" in (
        capsys.readouterr().err
    )
    assert not Path("ran").exists()


def test_a_config_checks_its_loggers() -> None:
    values: dict[str, Any] = {"network": "mobilenet_v2", "data": "cifar10", "log": ("csv", "xyz")}
    with pytest.raises(ValueError, match="log: 'xyz' is unknown"):
        from_values(TrainConfig, values)
