"""Results and exit codes do not depend on figures, terminals or the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import train.report
from tests.commands import images, train_run
from vbs.text import shell_command

ROOT = Path(__file__).resolve().parents[1]
SEARCH = ["nas.search", "--target-flops", "400M", "--budget", "2000", "--out", "run[lr=0.1]"]


def shell(line: str, words: list[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a shell line in which $C is a command."""
    text = shell_command([sys.executable, "-m", *words])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        ["bash", "-c", line.replace("$C", text)],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "environment", "drawn", "shown"),
    [
        ("$C", {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, True, True),
        ("$C", {"PYTHONIOENCODING": "latin-1", "MPLCONFIGDIR": "/proc/none"}, True, True),
        ("$C", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, True, True),
        ("$C", {"PYTHONPATH": f"broken{os.pathsep}{ROOT}"}, False, True),
        ("{ $C; echo code $? >&2; } | head -c 5; exit 0", {"COLUMNS": "1"}, True, False),
        ("$C > /dev/full", {"NO_COLOR": "1"}, True, False),
        ("$C >&- 2>&-", {}, True, False),
        ("{ $C 2>&1; echo $? >code; } | true", {}, True, False),
    ],
    ids=["notebook", "latin-1", "C", "matplotlib", "head", "full", "closed", "stderr"],
)
def test_a_search_keeps_its_results(
    line: str, environment: dict[str, str], drawn: bool, shown: bool, tmp_path: Path
) -> None:
    (tmp_path / "broken" / "matplotlib").mkdir(parents=True)
    (tmp_path / "broken" / "matplotlib" / "__init__.py").write_text("raise OSError('\x1b')")
    done = shell(line, SEARCH, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run[lr=0.1]"
    assert json.loads((folder / "search.json").read_text())["status"] == "finished"
    for name in ("best.json", "pareto.csv", "history.parquet"):
        assert (folder / name).is_file()
    assert (folder / "pareto.png").is_file() == drawn
    assert ("warning: pareto.png is not drawn" in done.stderr) == (not drawn)
    assert ("\nresults: 'run[lr=0.1]/' (search.json" in done.stdout) == shown
    assert "Traceback" not in done.stderr
    if "code $?" in line:
        assert "code 0" in done.stderr
    if ">code" in line:
        assert (tmp_path / "code").read_text() == "0\n"


def test_a_training_whose_pictures_fail_ends_with_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = images(tmp_path / "data"), tmp_path / "run"
    seen = []

    def fail(*_: object, **__: object) -> None:
        seen.append(json.loads((out / "run.json").read_text())["status"])
        raise RuntimeError("no memory")

    for name in ("curves", "confusion", "mistakes"):
        monkeypatch.setattr(train.report.draw, name, fail)
    words = [
        "mobilenet_v2",
        "--data",
        data,
        "--width",
        "0.1",
        "--resolution",
        "32",
        "--device",
        "cpu",
        "--set",
        "epochs=1",
        "--set",
        "batch=16",
        "--out",
        str(out),
    ]
    assert train_run(words) == 0
    assert seen == ["finished"] * 3, "the record comes before any picture"
    assert (out / "best.safetensors").is_file()
    shown, err = capsys.readouterr()
    assert "minival" in shown
    assert [line for line in err.splitlines() if "is not drawn" in line] == [
        f"warning: {name}.png is not drawn (RuntimeError: no memory)"
        for name in ("curves", "confusion", "mistakes")
    ]
    assert not list(out.glob("*.png"))


@pytest.mark.slow
def test_a_disk_that_is_full_in_the_end_is_a_failed_search_that_can_be_resumed(
    tmp_path: Path,
) -> None:
    full = shell("ulimit -f 8; $C", SEARCH, tmp_path)  # history.parquet is larger
    folder = tmp_path / "run[lr=0.1]"
    assert full.returncode == 1, full.stderr
    last = full.stderr.splitlines()[-1]
    assert last.startswith("nas.search: run[lr=0.1]/history.parquet: ")
    assert "File too large" in last
    assert last.endswith("; --resume --out 'run[lr=0.1]' continues")
    assert json.loads((folder / "search.json").read_text())["status"] == "failed"
    assert "networks evaluated" in full.stdout
    assert "best.json" not in full.stdout
    assert not (folder / "pareto.png").exists()
    again = shell("$C", ["nas.search", "--resume", "--out", "run[lr=0.1]"], tmp_path)
    assert again.returncode == 0, again.stderr
    assert (folder / "best.json").is_file()
