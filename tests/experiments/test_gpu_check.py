"""The check of a GPU: steps are run, limited, recorded and resumed; all of them in a dry run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import gpu_check
from experiments.lib.gpu_check import growth, process
from experiments.lib.gpu_check.record import Record
from experiments.lib.gpu_check.run import Check, describe_machine, run_steps
from experiments.lib.gpu_check.step import Conditions, Step, finding, plain
from experiments.lib.gpu_check.steps import STEPS
from experiments.lib.gpu_check.table import line_of, show
from tests.commands import ROOT
from vbs.failures import Failure

CHECK = Check(device="cuda", dry=False, data=None, minutes=5.0)
# packages that rented machines with a GPU lack
BLOCKED = ("ray", "optuna", "sqlalchemy", "fvcore", "tensorboardX")
BLOCKING = f"""
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Finder())
"""


def step(function: str, seconds: float = 100.0, **more: Any) -> Step:
    return Step(
        name=function,
        question="?",
        place=f"tests.experiments.gpu_steps:{function}",
        seconds=seconds,
        **more,
    )


def record(folder: Path, *names: str, **settings: Any) -> Record:
    return Record(folder / "result.json", settings, names)


def ran(folder: Path, *steps: Step, check: Check = CHECK) -> dict[str, dict[str, Any]]:
    """Run a check of some steps; return its rows by name."""
    known = record(folder, *(each.name for each in steps))
    run_steps(check, steps, known, lambda row: None)
    content = json.loads((folder / "result.json").read_text())
    assert content["status"] == "finished"
    return {row["name"]: row for row in content["steps"]}


def test_outcomes_are_told_apart_and_a_crash_stops_nothing(tmp_path: Path) -> None:
    rows = ran(tmp_path, *map(step, ("crashes", "mistaken", "good", "bad", "measured")))
    outcomes = {name: row["status"] for name, row in rows.items()}
    assert outcomes == {
        "crashes": "failed",
        "mistaken": "failed",
        "good": "passed",
        "bad": "failed",
        "measured": "measured",
    }
    assert rows["mistaken"]["reason"] == "data: no such images"
    assert rows["crashes"]["figure"] == "half of it"  # its last finding
    assert rows["crashes"]["reason"]
    assert rows["bad"]["reason"] == ""
    assert rows["good"]["finding"]["worst"] is None  # JSON has no NaN


@pytest.mark.slow
def test_a_step_over_its_limit_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_CHILD", str(tmp_path / "child"))
    monkeypatch.setattr(process, "GRACE", 0.2)
    seconds = 20.0  # processors may be busy
    rows = ran(tmp_path, step("hangs", seconds), step("slow", seconds), step("good"))
    assert rows["hangs"]["status"] == "failed"
    assert rows["hangs"]["reason"] == "stopped after 20 seconds"
    assert rows["hangs"]["figure"] == "0.95 x so far"
    assert rows["slow"]["status"] == "passed"  # it had a valid answer
    assert rows["slow"]["reason"] == "stopped after 20 seconds"
    assert rows["good"]["status"] == "passed"
    child = Path("/proc", (tmp_path / "child").read_text(), "stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    rows = ran(
        tmp_path,
        step("good", packages=("no_such_package", "json")),
        step("bad", data=True),
        check=CHECK,
    )
    assert [row["status"] for row in rows.values()] == ["skipped", "skipped"]
    assert rows["good"]["reason"] == "no_such_package not installed"
    assert rows["bad"]["reason"] == "no --data"


def test_no_step_starts_without_time(tmp_path: Path) -> None:
    short = Check(device="cuda", dry=False, data=None, minutes=0.1)
    rows = ran(tmp_path, step("good"), check=short)
    assert rows["good"]["status"] == "skipped"
    assert rows["good"]["reason"] == "6 s are left"


def test_limits_grow_with_the_time() -> None:
    assert CHECK.limit(step("good")) == 100
    assert Check(device="cuda", dry=False, data=None, minutes=16).limit(step("good")) == 200


def test_a_check_that_was_stopped_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_RUNS", str(tmp_path / "runs"))
    steps = (step("counted"), step("mistaken"), step("good"))

    def interrupt(row: dict[str, Any]) -> None:
        if row["name"] == "mistaken":
            raise KeyboardInterrupt

    names = [each.name for each in steps]
    with pytest.raises(KeyboardInterrupt):
        run_steps(CHECK, steps, record(tmp_path, *names, device="a"), interrupt)
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["status"] == "running"
    assert [row["name"] for row in content["steps"]] == names[:2]

    resumed = record(tmp_path, *names, device="a")
    resumed.take_up()
    assert list(resumed.rows) == ["counted"]  # steps that failed by themselves are repeated
    run_steps(CHECK, steps, resumed, lambda row: None)
    assert resumed.rows["counted"]["figure"] == "ran 1 times"

    other = record(tmp_path, *names, device="b")
    other.take_up()
    assert not other.rows
    again = record(tmp_path, *names, device="a")
    again.take_up()
    assert not again.rows  # all have ended, so a new check starts
    again.take_up(["counted"])
    assert list(again.rows) == ["good"]


def test_a_broken_result_file_is_no_result(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"steps": 3}'):
        (tmp_path / "result.json").write_text(text)
        known = record(tmp_path, "good")
        known.take_up()
        assert not known.rows


def test_the_table_has_a_line_for_each_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ran(tmp_path, step("good"), step("mistaken"))
    show(rows.values())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["good", "passed"], ["mistaken", "failed"]]
    assert "1.23 x" in lines[1]
    assert line_of(rows["mistaken"]) == "mistaken: failed (data: no such images)"


def test_a_machine_without_gpu_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no such images"):
        describe_machine(CHECK, step("mistaken"))


def test_findings_are_plain() -> None:
    import numpy as np

    found = finding("x", passed=None, values=np.array([1.0, np.inf]), one=np.float32(0.5), of=(1,))
    assert json.loads(json.dumps(found)) == found
    assert found["values"] == [1.0, None]
    assert plain(1 / 3) == 0.333333


def test_the_idle_share_is_of_the_time_that_no_kernel_covers() -> None:
    from experiments.lib.gpu_check.waiting import idle_share

    assert idle_share([(0.0, 2.0), (1.0, 1.5), (1.0, 3.0), (5.0, 8.0)]) == pytest.approx(0.25)
    assert idle_share([]) is None


def test_every_step_is_there() -> None:
    assert len({each.name for each in STEPS}) == len(STEPS)
    for each in STEPS:
        module, _, function = each.place.partition(":")
        path = ROOT / f"{module.replace('.', '/')}.py"
        assert f"\ndef {function}(" in path.read_text()


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--minutes", "nan"]])
def test_times_that_cannot_be_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"minutes: .* is not allowed"):
        gpu_check.run(words)


def test_the_grid_is_described_while_only_a_control_has_ended(tmp_path: Path) -> None:
    here = Conditions(device="cpu", dry=True, data=None, folder=str(tmp_path), ends=0.0)
    base, found = growth.grid_candidates(here)
    control = next(each.name for each in found if each.is_control)
    outcomes = {(control, 0): {"top1": 50.0, "train_loss": 1.0, "images": 10, "seconds": 1.0}}
    described = growth.grid_finding(base, found, growth.Plan(1, 1, 1), outcomes)
    assert described["figure"] == f"{control} 50.0 (1 epoch, 1 seed)"


def dry_run(folder: Path, *words: str, blocked: bool) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT)]
    if blocked:
        (folder / "blocking").mkdir()
        (folder / "blocking" / "sitecustomize.py").write_text(BLOCKING)
        paths.insert(0, str(folder / "blocking"))
    return subprocess.run(
        [
            *(sys.executable, "-m", "experiments.gpu_check", "--dry"),
            *("--out", str(folder / "out.json"), *words),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_all_steps_run_dry_without_ray_and_optuna(tmp_path: Path) -> None:
    done = dry_run(tmp_path, blocked=True)
    content = json.loads((tmp_path / "out.json").read_text())
    failed = {row["name"]: row for row in content["steps"] if row["status"] == "failed"}
    assert not failed, json.dumps(failed, indent=1)
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in content["steps"]] == [each.name for each in STEPS]
    skipped = {row["name"]: row["reason"] for row in content["steps"] if row["status"] == "skipped"}
    assert skipped == {"half-gpus": "ray not installed"}
    assert all(row["figure"] for row in content["steps"] if row["status"] == "ran")


@pytest.mark.slow
def test_trials_run_dry_side_by_side(tmp_path: Path) -> None:
    done = dry_run(tmp_path, "--steps", "half-gpus", blocked=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())["steps"]
    assert len(row["finding"]["trials"]) == 2
