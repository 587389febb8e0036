"""The `vbs` script: its commands, its fast help, and `vbs doctor`."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.speed import slowness
from vbs.command import command_line
from vbs.doctor.config import DoctorConfig
from vbs.doctor.run import OPTIONAL, examine
from vbs.main import help_text
from vbs.programs import COMMANDS


def vbs(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vbs", *words], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def test_help_lists_every_command_and_imports_none(tmp_path: Path) -> None:
    script = (
        "import sys, vbs.main\n"
        "print(vbs.main.help_text())\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +\w.*$", done.stdout, re.M)
        assert importlib.util.find_spec(f"{entry.program}.__main__") is not None
        assert len(entry.help) < 80
    heavy = ("torch", "ray", "pandas", "numpy", "optuna", "matplotlib", "rich", "pyarrow", "nas")
    assert not [name for name in heavy if f"'{name}'" in done.stderr]


def test_a_wrong_value_is_reported_before_the_imports_of_a_command(tmp_path: Path) -> None:
    script = """
import sys
from vbs.config import kinds
from vbs.options import flag, load
from vbs.programs import COMMANDS
for name, entry in COMMANDS.items():
    command = load(f"{entry.program}.config:COMMAND")
    numbers = [
        each
        for each, kind in kinds(command.config).items()
        if kind.base in (int, float) and each not in command.positional
    ]
    for each in numbers:
        words = [flag(each, command.config), "wrong"]
        try:
            command.execute(words)
        except ValueError as error:
            print(name, error)
        else:
            sys.exit(f"{name} accepts {words}")
sys.exit(" ".join({"torch", "ray", "optuna", "pandas"} & sys.modules.keys()) or None)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len({line.split(" --")[0] for line in done.stdout.splitlines()}) >= 12


def test_the_help_of_every_command_imports_nothing_heavy(tmp_path: Path) -> None:
    script = """
import contextlib, io, sys
from vbs.options import load
from vbs.programs import COMMANDS
heavy = {"numpy", "torch", "ray", "optuna", "pandas", "scipy", "matplotlib", "pyarrow"}
for entry in COMMANDS.values():
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        load(f"{entry.program}.config:COMMAND").execute(["--help"])
    assert "--config FILE" in text.getvalue()
    found = heavy & sys.modules.keys()
    assert not found, f"{entry.program} imports {found}"
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_help_is_there_at_once(tmp_path: Path) -> None:
    def seconds(*words: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=tmp_path, check=True, capture_output=True)
        return time.perf_counter() - began

    # relative to an interpreter that does nothing, for slow or busy machines
    help_ = min(seconds("-m", "vbs", "--help") for _ in range(5))
    nothing = min(seconds("-c", "pass") for _ in range(5))
    assert help_ < nothing + 0.2 * slowness()


def test_no_word_is_a_request_for_help(tmp_path: Path) -> None:
    assert vbs(cwd=tmp_path).stdout == vbs("--help", cwd=tmp_path).stdout == f"{help_text()}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", vbs("--version", cwd=tmp_path).stdout)


def test_a_mistyped_command_is_one_line(tmp_path: Path) -> None:
    done = vbs("serach", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vbs: command: 'serach' is unknown; did you mean search?\n"
    done = vbs("device", "kti", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("vbs: command: 'device kti' is unknown; did you mean device kit")


@pytest.mark.slow
def test_a_command_of_the_script_is_that_of_its_module(tmp_path: Path) -> None:
    words = ["--target-flops", "400M", "--budget", "500", "--out", "found"]
    done = vbs("search", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found" / "best.json").is_file()
    again = vbs("search", *words, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("nas.search: out: found already holds search.json")
    assert vbs("search", "--help", cwd=tmp_path).stdout.startswith("usage: vbs search [options]")


def test_the_doctor_says_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line("vbs.doctor", []) == 0
    text = capsys.readouterr().out
    for part in ("torch ", "optuna ", "Ray:", "database:", "MPLBACKEND", "missing:\n  nothing"):
        assert part in text
    assert str(Path.home()) not in text
    assert not list(tmp_path.iterdir())


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"timm": None, "psycopg": None}
    monkeypatch.setattr("vbs.doctor.run._version", lambda name: installed.get(name, "1.0"))
    found = examine(DoctorConfig(storage="postgresql://me:secret@127.0.0.1:9/nothing"))
    assert found.exit_code == 1
    assert "timm: pip install timm" in found.missing
    assert any(OPTIONAL["psycopg"][1] in line for line in found.warnings)
    text = str(found)
    assert "secret" not in text
    assert "could not be examined" in text  # there is no server


def test_a_database_is_examined_and_not_changed(tmp_path: Path) -> None:
    found = examine(DoctorConfig(storage=f"sqlite:///{tmp_path}/study.db"))
    assert "connected, sqlite 3." in found.facts["database"][0]


def test_every_module_that_runs_is_a_command() -> None:
    programs = {entry.program for entry in COMMANDS.values()}
    for path in ROOT.glob("*/*/__main__.py"):
        program = ".".join(path.relative_to(ROOT).parts[:2])
        if program.split(".")[0] not in ("tests", "experiments"):
            assert program in programs
