"""The database of a study: refused addresses, full disks, deleted files, the dashboard."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import resource
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from packaging.version import Version

import nas.storage.database
from nas.evaluators.base import Answer
from nas.history import History
from nas.storage.study import Study, StudyLost, open_study
from nas.storage.study_settings import SearchIdentity, read_settings
from tests.nas.studies import CURVE, NETWORKS, claimed, history_of, opened
from tests.nas.toys import TARGET, b0_space
from tests.speed import slowness


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is not a database URL"),
        ("study.db", "is not a database URL"),
        ("mysql://root:secret@host/x", "'mysql' is not supported"),
        ("postgresql+psycopg2://root:secret@host/x", "is not supported"),
        ("://root:secret@host", "is not a database URL"),
        ("postgresql://root:secret@host:wrong/x", "is not a database URL"),
        ("sqlite://", "'sqlite' is not supported"),
        ("sqlite:///", "is not a plain file"),
        ("sqlite:///study.db?mode=ro", "is not a plain file"),
        ("sqlite:///:memory:", "is not a plain file"),
        ("sqlite:///file:x.db?uri=true", "is not a plain file"),
        ("sqlite:////nowhere/at/all/study.db", "the folder /nowhere/at/all does not exist"),
        ("sqlite:////proc/study.db", "cannot be used"),
        ("sqlite:////etc", "cannot be used"),
        (f"sqlite:///{__file__}", "cannot be used .*not a database"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_in_one_line(url: str, message: str) -> None:
    for ask in (opened, lambda url: read_settings(url, "search")):
        with pytest.raises(ValueError, match=message) as error:
            ask(url)
        assert str(error.value).startswith("storage: ")
        assert "\n" not in str(error.value)
        assert "secret" not in str(error.value)


def test_postgresql_without_its_driver_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"pip install 'vision-baseline-search\[postgresql\]'"):
        opened("postgresql://user:secret@127.0.0.1:1/x")


def test_drivers_that_start_together_make_the_file_together(tmp_path: Path) -> None:
    """sqlite reports a locked file at once if two connections change its journal mode."""
    drivers, files = 8, 30
    together = threading.Barrier(drivers)

    def prepare(_: int) -> None:
        for number in range(files):
            together.wait(60)
            nas.storage.database._prepare_file(tmp_path / f"{number}.db", "shown")

    with ThreadPoolExecutor(drivers) as pool:
        list(pool.map(prepare, range(drivers)))
    for number in range(files):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{number}.db")) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    "name", ["{SCHEMA_VERSION}{0.__class__}", "a%20b%2F #1 ü", "user:x@host", "what?x=1&y"]
)
def test_a_file_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    if "?" in name and Version(sqlalchemy.__version__) < Version("2.1"):  # it is read as a query
        with pytest.raises(ValueError, match="is not a plain file"):
            opened(f"sqlite:///{folder}/study.db")
        return
    with opened(f"sqlite:///{folder}/study.db") as study:
        assert study.claim(NETWORKS[0], {}) == 0
    assert (folder / "study.db").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_full_disk_is_said_in_one_line_and_the_study_is_intact(
    study: Study, url: str, tmp_path: Path
) -> None:
    study.finish(claimed(study, NETWORKS[0]), Answer(60.0))
    number = claimed(study, NETWORKS[1])
    log = tmp_path / "study.db-wal"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    try:
        with pytest.raises(StudyLost, match=r"^storage: sqlite:///.*study.db cannot") as lost:
            study.finish(number, Answer(61.0, error="x" * 10_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(lost.value)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    study.finish(number, Answer(61.0))  # there is space again
    assert history_of(opened(url)).accuracy.tolist() == [60.0, 61.0]


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs Linux")
@pytest.mark.parametrize("loss", ["deleted", "replaced"])
def test_a_file_that_vanished_is_noticed(study: Study, tmp_path: Path, loss: str) -> None:
    claimed(study, NETWORKS[0])
    (tmp_path / "study.db").rename(tmp_path / "elsewhere.db")
    if loss == "replaced":
        (tmp_path / "study.db").write_bytes(b"")
    with pytest.raises(StudyLost, match=r"was deleted or replaced while it was in use$"):
        study.finish(0, Answer(60.0))
    with pytest.raises(StudyLost, match=r"was deleted or replaced"):
        history_of(study)


def test_a_frozen_driver_does_not_hold_up_the_others_for_ever(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.storage.database, "BUSY", 0.1)
    monkeypatch.setattr(nas.storage.database, "PAUSES", (0.1,))
    with opened(url) as study:
        with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as frozen:
            frozen.execute("BEGIN IMMEDIATE")
            with pytest.raises(StudyLost, match="database is locked"):
                study.claim(NETWORKS[0], {})
            assert len(history_of(study)) == 0  # reading still works
        assert study.claim(NETWORKS[0], {}) == 0


def test_a_working_folder_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened("sqlite:///study.db") as study:
        monkeypatch.chdir("/")
        assert study.claim(NETWORKS[0], {}) == 0
    assert (tmp_path / "study.db").exists()


def test_a_deleted_study_is_noticed(study: Study, url: str) -> None:
    number = claimed(study, NETWORKS[0])
    optuna.delete_study(study_name="search", storage=url)
    with pytest.raises(StudyLost, match="the study was deleted from sqlite"):
        study.claim(NETWORKS[1], {})
    with pytest.raises(StudyLost):
        study.finish(number, Answer(60.0))


def test_what_others_put_into_the_study_is_left_alone(study: Study, url: str) -> None:
    theirs = optuna.load_study(study_name="search", storage=url)
    theirs.enqueue_trial({"width": 8, "depth": 1, "kind": "a"})
    theirs.ask()
    theirs.add_trial(optuna.create_trial(value=1.0))
    number = claimed(study, NETWORKS[0])
    assert number == 2
    assert study.abandoned() == []
    theirs.tell(number, state=optuna.trial.TrialState.FAIL)  # by hand, in the dashboard
    assert history_of(study).error.tolist() == ["ended by another program"]
    assert not study.finish(number, Answer(60.0))
    assert history_of(study).error.tolist() == ["ended by another program"]


def test_a_trial_costs_the_driver_little_time(url: str) -> None:
    space = b0_space()
    genotypes = np.unique(space.sample(110, np.random.default_rng(0)), axis=0)[:100]
    with open_study(url, "search", SearchIdentity(space, TARGET), resume=False) as study:
        history = History(space, TARGET)
        before = time.process_time()
        for genotype in genotypes:
            number = study.claim(genotype, {"flops": 1})
            assert number is not None
            study.finish(number, Answer(60.0))
            study.sync(history)
        each = (time.process_time() - before) / len(genotypes)
    assert len(history) == len(genotypes)
    assert each < 0.020 * slowness()  # seconds of this process; 0.006 on an idle machine


def get(app: Any, path: str) -> dict[str, Any]:
    """Return the JSON answer of a web application."""
    status: list[str] = []
    environment = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    body = b"".join(app(environment, lambda code, *_: status.append(code)))
    assert status == ["200 OK"], body

    def no(constant: str) -> None:
        raise AssertionError(f"browsers do not read {constant}")

    return json.loads(body, parse_constant=no)


def test_the_dashboard_shows_the_study(study: Study, url: str) -> None:
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    study.finish(claimed(study, NETWORKS[0]), Answer(60.0, curve=CURVE))
    study.finish(claimed(study, NETWORKS[1]), Answer(math.nan, error="out of memory"))
    study.finish(claimed(study, NETWORKS[2]), Answer(50.0, curve=CURVE[:1], fidelity=0.5))
    running = study.claim(NETWORKS[3], {"flops": 8_000_000, "latency": math.nan})
    assert running == 3
    storage = optuna.storages.RDBStorage(url, skip_table_creation=True)
    app = optuna_dashboard.wsgi(storage)
    (summary,) = get(app, "/api/studies")["study_summaries"]
    assert summary["study_name"] == "search"
    detail = get(app, f"/api/studies/{summary['study_id']}")
    assert detail["objective_names"] == ["reward"]
    assert {"key": "seed", "value": "0"} in detail["user_attrs"]
    shown = detail["trials"]
    assert [trial["state"] for trial in shown] == ["Complete", "Fail", "Pruned", "Running"]
    assert {p["name"]: p["param_external_value"] for p in shown[3]["params"]} == {
        "width": "8",
        "depth": "2",
        "kind": "b",
    }
    attributes = [{a["key"]: a["value"] for a in trial["user_attrs"]} for trial in shown]
    assert attributes[0]["accuracy"] == "60.0"
    assert attributes[1]["error"] == "out of memory"
    assert attributes[3]["flops"] == "8000000"
    assert [point["step"] for point in shown[0]["intermediate_values"]] == [1, 2]
    assert [best["number"] for best in detail["best_trials"]] == [0]
