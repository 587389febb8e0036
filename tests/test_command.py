"""Exit codes, one-line errors and signals of every command."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import begin, commands, environment, images, wait_for_handler
from vbs import signals
from vbs.command import Failure, module_command, run_command
from vbs.folder import write_whole

# those that import torch before anything can be interrupted take seconds
NAMES = [
    name
    if name in ("nas.search", "nas.compare", "scaling.family", "train.ray_tune")
    else pytest.param(name, marks=pytest.mark.slow)
    for name in commands("")
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images(tmp_path_factory.mktemp("images"))


def test_printed_commands_are_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setattr(sys, "prefix", "/my env")
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    expected = "'/my env/bin/python' -m train.export 'a b' --to onnx"
    assert module_command(["train.export", "a b", "--to", "onnx"]) == expected


def failing(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("seed: 'x' is no number"), 2, "toy: seed: 'x' is no number"),
        (ValueError("two\nlines \x1b[2J"), 2, "toy: two\\nlines \\x1b[2J"),
        (OSError(errno.ENOENT, "No such file", "a.json"), 2, "toy: a.json: No such file"),
        (OSError(errno.EACCES, "Permission denied", "a"), 2, "toy: a: Permission denied"),
        (OSError(errno.ENOSPC, "No space left", "run/a"), 1, "toy: run/a: No space left"),
        (OSError(errno.EIO, "Input/output error", "b"), 1, "toy: b: Input/output error"),
        (OSError(errno.EROFS, "Read-only file system", "b"), 1, "toy: b: Read-only file system"),
        (OSError(errno.EDQUOT, "Quota exceeded", "b"), 1, "toy: b: Quota exceeded"),
        (OSError("of no number"), 1, "toy: output: of no number"),
        (Failure("the cluster was lost"), 1, "toy: the cluster was lost"),
        (KeyboardInterrupt(), 130, "toy: interrupted"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("toy", lambda: failing(error)) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_a_full_disk_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    with pytest.raises(OSError, match="No space left") as error:
        write_whole(tmp_path / "result.json", write)
    assert error.value.filename == str(tmp_path / "result.json")


@pytest.mark.parametrize("number", signals.ENDING)
def test_signals_interrupt_and_handlers_come_back(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in signals.ENDING]

    def action() -> int:
        signal.raise_signal(number)
        time.sleep(5)
        return 0

    assert run_command("toy", action, interrupted=lambda: "ended") == 130
    assert capsys.readouterr().err == "toy: ended\n"
    assert [signal.getsignal(each) for each in signals.ENDING] == before


def test_a_signal_waits_for_what_is_written_and_is_not_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written = []

    def action() -> int:
        with signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            written.append("whole")
        signals.raise_noted()
        return 0

    assert run_command("toy", action) == 130
    assert written == ["whole"]


@pytest.mark.parametrize(
    "place",
    [
        "try:\n    import slow\nexcept ImportError:\n    pass",  # it swallows everything
        "class Last:\n    def __del__(self):\n        import slow\nLast()",
    ],
)
def test_a_signal_is_not_lost_where_python_swallows_exceptions(tmp_path: Path, place: str) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.3)\nexcept BaseException:\n    pass\n"
    )
    (tmp_path / "toy.py").write_text(f"import time\n{place}\ndef run():\n    time.sleep(20)\n")
    told = subprocess.run(
        [sys.executable, "-c", "from vbs.command import run_program; run_program('toy', 'toy')"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert (told.returncode, told.stderr) == (130, "toy: interrupted\n")


CLOSING = """
import logging, os, signal, sqlalchemy
from sqlalchemy.pool import NullPool
def run():
    engine = sqlalchemy.create_engine("sqlite://", poolclass=NullPool)
    engine.dialect.do_close = lambda connection: os.kill(os.getpid(), signal.SIGTERM)
    logging.getLogger("sqlalchemy.pool").error("a message of a library")
    engine.connect().close()
"""


def test_a_signal_while_a_database_is_closed_prints_no_traceback(tmp_path: Path) -> None:
    """SQLAlchemy logs every exception of a connection that it closes, then raises it again."""
    (tmp_path / "toy.py").write_text(CLOSING)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from vbs.command import run_program; run_program('toy', 'toy', 'run')",
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    expected = "a message of a library\ntoy: interrupted\n"
    assert (done.returncode, done.stderr) == (130, expected)


@pytest.mark.parametrize("place", ["caught", "install", "end_with_parent"])
def test_a_signal_before_the_command_begins_is_an_interrupt(tmp_path: Path, place: str) -> None:
    (tmp_path / "toy.py").write_text("def run():\n    pass\n")
    owner = "command" if place == "end_with_parent" else "signals"
    program = (
        "import os, signal\nfrom vbs import command, signals\n"
        f"own = {owner}.{place}\n"
        "def interrupted():\n"
        "    found = own()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return found\n"
        f"{owner}.{place} = interrupted\n"
        "command.run_program('toy', 'toy', 'run')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (130, "toy: interrupted\n")


@pytest.mark.parametrize("name", NAMES)
def test_sigterm_is_handled_from_the_first_second(name: str, data: str, tmp_path: Path) -> None:
    for _ in range(5):  # on a busy machine the imports may be over before this process looks
        process = begin(name, [*commands(data)[name], "--out", str(tmp_path / "out")], tmp_path)
        wait_for_handler(process)
        process.send_signal(signal.SIGSTOP)
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        if "numpy" not in maps:
            break
        process.kill()
        process.communicate()
    assert "numpy" not in maps
    assert "torch" not in maps
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert len(told.splitlines()) == 1
    assert "interrupted" in told


@pytest.mark.slow
def test_a_command_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time\nfrom vbs.children import child_environment\n"
        "child = subprocess.Popen([sys.executable, '-m', 'nas.search', '--target-flops', '400M',"
        " '--budget', '50M', '--out', 'out'], env=child_environment())\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    for _ in range(200):
        if (tmp_path / "out" / "search.json").exists():
            break
        time.sleep(0.05)
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("it outlived its parent")
    assert '"status": "interrupted"' in (tmp_path / "out" / "search.json").read_text()
