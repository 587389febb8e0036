"""`python -m nas.search --resume` after interruptions, kills, and changes of the record."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from nas.search import record, report
from tests.commands import search as run

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--target-flops", "400M", "--budget", "3000"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert run([*QUICK, "--out", str(folder)]) == 0
    return folder


def test_a_finished_folder_is_not_overwritten(
    finished: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert run([*QUICK, "--out", str(finished)]) == 2
    assert "already holds" in capsys.readouterr().err
    assert run(["--target-flops", "300M", "--resume", "--out", str(finished)]) == 2
    assert "--target-flops: 300M differs from the search's 400M" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in finished.iterdir()}


@pytest.mark.parametrize("budget", [2000, 2345])
def test_resume_to_a_larger_budget_equals_one_search(
    finished: Path, tmp_path: Path, budget: int
) -> None:
    """The second budget ends within a generation."""
    part = tmp_path / "part"
    assert run(["--target-flops", "400M", "--budget", str(budget), "--out", str(part)]) == 0
    record = json.loads((part / "search.json").read_text())
    assert ("cut" in record["outcome"]) == (budget == 2345)
    assert run(["--resume", "--out", str(part), "--budget", "3000"]) == 0
    for name in ("best.json", "pareto.csv"):
        assert (part / name).read_bytes() == (finished / name).read_bytes()


def test_a_search_of_an_earlier_version_goes_on(finished: Path, tmp_path: Path) -> None:
    """The earlier version lacks a setting that exists now."""
    part = tmp_path / "part"
    assert run(["--target-flops", "400M", "--budget", "2000", "--out", str(part)]) == 0
    record = json.loads((part / "search.json").read_text())
    del record["settings"]["also"]
    (part / "search.json").write_text(json.dumps(record))
    assert run(["--resume", "--out", str(part), "--budget", "3000"]) == 0
    assert (part / "best.json").read_bytes() == (finished / "best.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("search.json", "{", "is not the record of a search"),
        ("search.json", '{"settings": {"colour": "x"}, "outcome": {}}', "another version"),
        (
            "search.json",
            '{"settings": {"space": "compact"}, "outcome": {}}',
            "search.json: --target-flops is missing",
        ),
        ("search.json", '{"settings": {}, "outcome": [3]}', "is not the record of a search"),
        ("search.json", '{"settings": {}, "outcome": {"evaluated": "x"}}', "is not the record"),
        ("search.json", "[" * 100_000, "is not the record of a search"),
        ("history.parquet", "PAR1", "cannot be read"),
        ("history.parquet", None, "cannot be read"),
    ],
)
def test_half_written_folders_are_refused_whole(
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    name: str,
    content: str | None,
    message: str,
) -> None:
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target_flops", "x"),
        ("exponent", "x"),
        ("seed", 1.5),
        ("changes", 7),
        ("small_images", "no"),
        ("budget", True),
        ("space", 3),
        ("max_params", "x"),
    ],
)
def test_impossible_settings_in_a_record_are_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, value: object
) -> None:
    content = json.loads((finished / "search.json").read_text())
    content["settings"][name] = value
    (tmp_path / "search.json").write_text(json.dumps(content))
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"resume: search.json: {name}: {value!r} is not " in error
    assert error.count("\n") == 1


def test_a_record_without_a_target_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    content = json.loads((finished / "search.json").read_text())
    content["settings"]["target_flops"] = None
    (tmp_path / "search.json").write_text(json.dumps(content))
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    assert "search.json: --target-flops is missing" in capsys.readouterr().err


def test_a_history_that_is_not_of_this_search_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "search.json").write_bytes((finished / "search.json").read_bytes())
    history = pyarrow.parquet.read_table(finished / "history.parquet")
    for doctored in (history.slice(0, 100), pyarrow.concat_tables([history, history])):
        pyarrow.parquet.write_table(doctored, tmp_path / "history.parquet")
        assert run(["--resume", "--out", str(tmp_path)]) == 2
        assert "is not the history of the search" in capsys.readouterr().err


def test_ctrl_c_while_results_are_written_is_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = report.write

    def interrupted(*arguments: object) -> None:
        signal.raise_signal(signal.SIGINT)
        written(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(report, "write", interrupted)
    assert run([*QUICK, "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "search.json").read_text())["status"] == "finished"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_ctrl_c_saves_what_was_found_and_resume_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = ["--target-flops", "400M", "--budget", "50M", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "nas.search", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "run" / "search.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted, the results so far are saved" in out
    search = json.loads((tmp_path / "run" / "search.json").read_text())
    assert search["status"] == "interrupted"
    evaluated = search["outcome"]["evaluated"]
    assert evaluated > 0
    assert (tmp_path / "run" / "best.json").exists()
    budget = str(evaluated + 1000)
    assert run(["--resume", "--out", str(tmp_path / "run"), "--budget", budget]) == 0
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "history.parquet").num_rows
    assert rows == evaluated + 1000


def test_what_a_killed_search_had_spent_is_in_its_record(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is killed between two of its partial records."""

    class Killed(BaseException):
        pass

    written = record.write_search

    def killed(*args: Any, **outcome: Any) -> None:
        written(*args, **outcome)
        if outcome.get("evaluated", 0) > 500:
            raise Killed

    monkeypatch.setattr("nas.search.session.SAVE_EVERY", -1.0)
    monkeypatch.setattr("nas.search.session.SAVING", math.inf)
    monkeypatch.setattr(record, "write_search", killed)
    with pytest.raises(Killed):
        run([*QUICK, "--out", str(tmp_path / "run")])
    known = json.loads((tmp_path / "run" / "search.json").read_text())
    assert known["status"] == "running"
    assert known["outcome"]["seconds"] > 0
    monkeypatch.undo()
    known["outcome"]["seconds"] = 1000.0
    (tmp_path / "run" / "search.json").write_text(json.dumps(known))
    assert run(["--resume", "--out", str(tmp_path / "run")]) == 0
    ended = json.loads((tmp_path / "run" / "search.json").read_text())
    assert ended["outcome"]["seconds"] > 1000
    assert (tmp_path / "run" / "best.json").read_bytes() == (finished / "best.json").read_bytes()


def test_a_resumed_search_with_nothing_to_do_took_no_time(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    before = json.loads((tmp_path / "run" / "search.json").read_text())["outcome"]
    assert run(["--resume", "--out", str(tmp_path / "run"), "--budget", "10"]) == 0
    after = json.loads((tmp_path / "run" / "search.json").read_text())["outcome"]
    assert (after["evaluated"], after["seconds"]) == (before["evaluated"], before["seconds"])
    assert f"--budget {4 * before['evaluated']}" in capsys.readouterr().out
