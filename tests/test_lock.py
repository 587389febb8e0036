"""Locks of results folders: every command refuses a folder that another process uses."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.commands import begin, block_times, commands, environment, images
from vbs import lock
from vbs.folder import results_folder, status_after, write_json
from vbs.lock import FILE, owned, this_process

FUNCTIONS: dict[str, tuple[str, str]] = {
    "nas.search": ("tests.commands", "search"),
    "nas.search measured": ("tests.commands", "search"),
    "nas.compare": ("tests.commands", "compare"),
    "nas.fidelity": ("tests.commands", "fidelity"),
    "train.run": ("tests.commands", "train_run"),
    "train.ray_tune": ("tests.commands", "ray_tune"),
    "scaling.grid": ("tests.commands", "grid"),
    "scaling.family": ("tests.commands", "family"),
    "scaling.training_aware": ("tests.commands", "training_aware"),
    "scaling.baseline": ("tests.commands", "baseline"),
    "train.noisy_student": ("tests.commands", "noisy_student"),
}
RESUMED = [name for name in FUNCTIONS if name not in ("scaling.family", "scaling.baseline")]
# train.noisy_student needs a teacher, see tests/train/test_noisy_student.py
NEW = [name for name in FUNCTIONS if name != "train.noisy_student"]

# acquires the lock of a folder, and logs when it acquires and releases it
TAKER = """
import os, sys, time
from pathlib import Path
from vbs.lock import owned

folder, log = Path(sys.argv[1]), Path(sys.argv[2])
while not (folder / "go").exists():
    time.sleep(0.001)

def note(word):
    with log.open("a") as file:
        file.write(f"{word} {os.getpid()}\\n")

try:
    with owned(folder, "taker"):
        note("begin")
        time.sleep(0.2)
        note("end")
except ValueError as error:
    note("refused")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def living() -> Iterator[dict[str, Any]]:
    """The lock content of a running process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = this_process("other.command")
    yield {**owner, "pid": process.pid, "began": lock.processes.start(process.pid)}
    process.kill()
    process.wait()


def ended() -> dict[str, Any]:
    """The lock content of a killed process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = lock.processes.start(process.pid)
    process.kill()
    process.wait()
    return {**this_process("other.command"), "pid": process.pid, "began": began}


def leave(folder: Path, owner: dict[str, Any], *, age: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def called(name: str, words: list[str]) -> int:
    module, function = FUNCTIONS[name]
    run: Callable[[list[str]], int] = getattr(importlib.import_module(module), function)
    return run(words)


def new(name: str, data: str) -> list[str]:
    words = commands(data)[name]
    return words[: words.index("--measure")] if "--measure" in words else words


@pytest.mark.parametrize("name", NEW)
def test_a_new_run_is_refused_where_a_living_process_works(
    name: str,
    data: str,
    living: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if name == "scaling.training_aware":  # avoids measuring a table of step times first
        monkeypatch.setattr("scaling.training_aware.run._times", lambda *_: Times())
    path = leave(tmp_path / "out", living)
    assert called(name, [*new(name, data), "--out", str(path.parent)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{name.split()[0]}: out: {path.parent} is in use by other.command (process "
        f"{living['pid']} on {living['host']}); wait until it ends, or use another --out"
    )
    assert [entry.name for entry in path.parent.iterdir()] == [FILE]
    assert json.loads(path.read_text()) == living


class Times:
    """A table of times in which every network takes one second."""

    def predict(self, network: object) -> tuple[float, float]:
        return 1.0, 0.0


# train.ray_tune reads its record first, see tests/train/ray_tune/test_record.py
@pytest.mark.parametrize("name", [name for name in RESUMED if name != "train.ray_tune"])
def test_a_resumed_run_is_refused_where_a_living_process_works(
    name: str, living: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, living)
    assert called(name, ["--resume", "--out", str(tmp_path)]) == 2
    assert f"is in use by other.command (process {living['pid']}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("name", RESUMED)
def test_a_folder_whose_owner_was_killed_is_taken_over(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, ended())
    assert called(name, ["--resume", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "in use" not in told  # the error is that there is no record to resume
    if name != "train.ray_tune":
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["experiments.cifar10_curves"])
def test_experiments_are_refused_where_a_living_process_works(
    name: str,
    data: str,
    living: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    leave(tmp_path / "out", living)
    words = ["--data", data, "--out", str(tmp_path / "result.json"), "--work"]
    monkeypatch.setattr(sys, "argv", [name.split(".")[1], *words, str(tmp_path / "out")])
    with pytest.raises(ValueError, match=r"is in use by other\.command"):
        importlib.import_module(name).main()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [FILE]


def test_a_single_file_has_an_owner_too(
    living: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".times.json.owner.json").write_text(json.dumps(living))
    assert block_times(["--out", str(tmp_path / "times.json"), "--resolution", "32"]) == 2
    assert "is in use by other.command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "lock_name", "function", "arguments"),
    [
        ("same_learning", "ours-0.owner.json", "one_run", ("ours", 0)),
        ("noisy_student_cifar10", "seed-3/owner.json", "run_seed", (3, ["teacher"])),
    ],
)
def test_arms_that_share_a_folder_have_an_owner_each(
    name: str,
    lock_name: str,
    function: str,
    arguments: tuple[Any, ...],
    living: dict[str, Any],
    tmp_path: Path,
) -> None:
    path = tmp_path / lock_name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(living))
    module = importlib.import_module(f"experiments.{name}")
    if name == "same_learning":
        words = (argparse.Namespace(work=str(tmp_path)), *arguments)
    else:
        words = (*arguments, tmp_path, {}, "cifar10")
    with pytest.raises(ValueError, match=r"is in use by other\.command"):
        getattr(module, function)(*words)


@pytest.mark.slow
def test_processes_of_torchrun_are_refused_where_a_living_process_works(
    data: str, living: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    leave(out, living)
    words = commands(data)["train.run"]
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "train.run",
            *words,
            "--out",
            str(out),
        ],
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert told.returncode != 0
    assert told.stderr.count("train.run: out: ") == 1
    assert "is in use by other.command" in told.stderr
    assert [path.name for path in out.iterdir()] == [FILE]


@pytest.mark.slow
def test_of_searches_that_start_together_one_runs(tmp_path: Path) -> None:
    words = ["--target-flops", "400M", "--budget", "20000", "--out", str(tmp_path / "out")]
    started = {
        seed: begin("nas.search", [*words, "--seed", str(seed)], tmp_path) for seed in range(4)
    }
    told = {seed: process.communicate(timeout=120)[1] for seed, process in started.items()}
    won = [seed for seed, process in started.items() if process.returncode == 0]
    assert len(won) == 1, told
    for seed, process in started.items():
        assert process.returncode == (0 if seed in won else 2), told[seed]
        assert seed in won or "in use by" in told[seed] or "already holds" in told[seed]
    record = json.loads((tmp_path / "out" / "search.json").read_text())
    assert record["settings"]["seed"] == won[0]
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "history.parquet").num_rows
    assert rows == record["outcome"]["evaluated"] == 20_000
    assert not (tmp_path / "out" / FILE).exists()


@pytest.mark.parametrize("links", [True, False])
def test_of_processes_that_take_a_lock_over_one_has_it(tmp_path: Path, links: bool) -> None:
    program = TAKER
    if not links:
        program = (
            "import errno, os\ndef link(*_):\n    raise OSError(errno.EPERM, 'no links')\n"
            f"os.link = link\n{TAKER}"
        )
    for turn in range(3):
        folder, log = tmp_path / f"{turn}", tmp_path / f"{turn}.log"
        leave(folder, ended())
        takers = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(folder), str(log)], env=environment()
            )
            for _ in range(6)
        ]
        time.sleep(0.3)
        (folder / "go").touch()
        assert [taker.wait(60) for taker in takers] == [0] * 6
        lines = [line.split() for line in log.read_text().splitlines()]
        turns = [(word, process) for word, process in lines if word != "refused"]
        assert turns  # at least one process held the lock, and never two at once
        for (begins, first), (ends, second) in zip(turns[::2], turns[1::2], strict=True):
            assert (begins, ends, first) == ("begin", "end", second)
        assert [path.name for path in folder.iterdir()] == ["go"]


def test_an_owner_that_ended_while_it_took_over_is_followed_by_the_next(tmp_path: Path) -> None:
    first, second = ended(), ended()
    leave(tmp_path, first)
    (tmp_path / f".{FILE}-after-{first['id']}").write_text(json.dumps(second))
    with owned(tmp_path, "third"):
        assert json.loads((tmp_path / FILE).read_text())["command"] == "third"
        assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert not list(tmp_path.iterdir())


def test_an_owner_on_another_machine_counts_as_ended_after_a_time(tmp_path: Path) -> None:
    elsewhere = {**this_process("nas.search"), "host": "node-7", "processes": "others"}
    path = leave(tmp_path, elsewhere, age=lock.FORGOTTEN - 30)
    with (
        pytest.raises(ValueError, match=r"nas.search \(process \d+ on node-7, last seen 90 s ago"),
        owned(tmp_path, "nas.search"),
    ):
        pass
    leave(tmp_path, elsewhere, age=lock.FORGOTTEN + 1)
    with owned(tmp_path, "nas.search"):
        assert json.loads(path.read_text())["host"] != "node-7"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "?"}', "\x00"])
def test_a_damaged_lock_is_taken_over(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WRITING", 0.1)
    (tmp_path / FILE).write_text(content)
    with owned(tmp_path, "nas.search"):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("identifier", ["a\0b", "\ud800", "../../x", 3, None, "x" * 1000])
def test_an_identifier_of_any_kind_makes_no_path(identifier: object, tmp_path: Path) -> None:
    path = leave(tmp_path, {"id": identifier, "pid": 1}, age=lock.FORGOTTEN + 1)
    with owned(tmp_path, "nas.search"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_no_file_is_taken_over_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WRITING", 0.1)
    os.mkfifo(tmp_path / FILE)
    with owned(tmp_path, "nas.search"):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
    (tmp_path / FILE).symlink_to("nowhere")
    with (
        pytest.raises(ValueError, match=r"owner\.json is a broken symbolic link"),
        owned(tmp_path, "nas.search"),
    ):
        pass


def test_an_owner_shows_that_it_lives_and_ends_when_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.05)
    path = tmp_path / FILE

    def working() -> None:
        with owned(tmp_path, "nas.search"):
            os.utime(path, (0, 0))
            time.sleep(0.3)
            assert path.stat().st_mtime > 0
            leave(tmp_path, {"id": "other", "pid": 7, "host": "node-7"})
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        working()
    assert "nas.search: process 7 on node-7 has taken over" in capsys.readouterr().err
    assert json.loads(path.read_text())["id"] == "other"


def test_names_in_a_lock_cannot_act_on_the_terminal(living: dict[str, Any], tmp_path: Path) -> None:
    leave(tmp_path, {**living, "command": "\x1b[2J" + 500 * "x", "host": "a\nb"})
    with pytest.raises(ValueError, match="in use by") as error, owned(tmp_path, "nas.search"):
        pass
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "x")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match="Read-only"), owned(tmp_path, "nas.search"):
        pass


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "interrupted"), (OSError, "failed"), (None, "running")],
)
def test_a_record_does_not_stay_running_where_its_command_was_ended(
    error: type[BaseException] | None, status: str, tmp_path: Path
) -> None:
    record = tmp_path / "out" / "run.json"
    folder = results_folder(str(tmp_path / "out"), kind="x", files=("run.json",), command="toy")
    with contextlib.suppress(BaseException), folder:
        write_json(record, {"status": "running", "seed": 1})
        if error is not None:
            raise error
    assert json.loads(record.read_text()) == {"status": status, "seed": 1}
    with contextlib.suppress(KeyboardInterrupt), status_after(record):
        write_json(record, {"status": "finished"})
        raise KeyboardInterrupt
    assert json.loads(record.read_text()) == {"status": "finished"}
