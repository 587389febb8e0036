"""Experiments of several arms as commands: resumed, refused, failed and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.lib.timed_training import timed_accuracy
from train.recipe import NORM_STATISTICS

ROOT = Path(__file__).resolve().parents[2]

# an arm records its start, then returns, fails or takes a minute
TOY = """
import argparse, os, sys, time
from pathlib import Path
from experiments.lib.arms import arguments, each_seed, run_all

def run(name, seed, folder):
    with open(folder.parent / "begun.txt", "a") as file:
        file.write(f"{name} {seed} {os.getpid()}\\n")
    if name == os.environ.get("SLOW"):
        time.sleep(60)
    if name == os.environ.get("BROKEN"):
        raise ValueError("too hot")
    if name == os.environ.get("FULL"):
        raise OSError(28, "No space left on device", "/full/last.safetensors")
    return {"score": seed + len(name)}

def main():
    parser = arguments("toy", name="toy", seeds=(0, 1))
    parser.add_argument("--data")
    parser.add_argument("--lr", type=float, default=1.0)
    args = parser.parse_args()
    own = lambda done: {"scores": [row["score"] for row in done.values()]}
    run_all(args, each_seed(["a", "bb"], args.seeds), run, {"lr": args.lr}, own)

if __name__ == "__main__":
    from experiments.lib.common import run_experiment

    run_experiment("toy_arms")
"""


def begin(place: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    (place / "toy_arms.py").write_text(TOY)
    texts = ["--work", str(place / "work"), "--out", str(place / "out.json"), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "toy_arms", *texts],
        text=True,
        stderr=subprocess.PIPE,
        cwd=place,
        env={**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}", **environment},
        start_new_session=True,
    )


def called(place: Path, *more: str, **environment: str) -> tuple[int, list[str]]:
    """Return exit code and lines on stderr."""
    process = begin(place, *more, **environment)
    _, told = process.communicate(timeout=240)
    return process.returncode, told.splitlines()


def begun(place: Path) -> list[list[str]]:
    path = place / "work" / "begun.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def result(place: Path) -> dict[str, Any]:
    return json.loads((place / "out.json").read_text())


def gone(process: int) -> bool:
    """Return whether a process ends soon."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_a_failed_arm_is_a_line_and_the_rest_is_resumed(tmp_path: Path) -> None:
    data = tmp_path / "sets" / "birds"
    data.mkdir(parents=True)
    told = ["--processes", "1", "--data", f"imagefolder:{data}"]
    code, lines = called(tmp_path, *told, BROKEN="bb")
    assert code == 1
    assert lines == [
        "4 of 4 arms are to be run",
        "a, seed 0: finished",
        "toy_arms: arm bb of seed 0 failed: ValueError: too hot",
    ]
    part = result(tmp_path)
    assert part["partial"]
    assert part["scores"] == [1]
    assert part["settings"] == {
        "lr": 1.0,
        "data": "imagefolder:sets/birds",
        "norm_statistics": NORM_STATISTICS,
    }

    told[1] = "4"
    assert called(tmp_path, *told)[0] == 0
    whole = result(tmp_path)
    assert not whole["partial"]
    assert whole["scores"] == [1, 2, 2, 3]
    assert sorted(arm[:2] for arm in begun(tmp_path)) == [
        ["a", "0"],
        ["a", "1"],
        ["bb", "0"],
        ["bb", "0"],
        ["bb", "1"],
    ]

    other = tmp_path / "sets" / "fish"
    other.mkdir()
    for more, what in ((["--lr", "2"], "lr"), (["--data", str(other)], "data")):
        code, lines = called(tmp_path, *told, *more)
        assert code == 2
        assert len(lines) == 1
        assert f"holds arms of other settings ({what})" in lines[0]
    assert len(begun(tmp_path)) == 5


@pytest.mark.slow
def test_an_arm_that_met_a_full_disk_is_a_failure_and_no_mistake(tmp_path: Path) -> None:
    code, lines = called(tmp_path, "--processes", "1", FULL="a")
    assert code == 1
    assert lines[-1] == "toy_arms: /full/last.safetensors: No space left on device"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_arm_outlives_the_command(tmp_path: Path, number: int) -> None:
    process = begin(tmp_path, SLOW="a", BROKEN="none")
    for _ in range(1200):
        if [arm[0] for arm in begun(tmp_path)].count("a") == 1 and (tmp_path / "out.json").exists():
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert all(gone(int(arm[2])) for arm in begun(tmp_path))
    if number != signal.SIGKILL:
        assert process.returncode == 130
        last = told.splitlines()[-1]
        assert last == "toy_arms: interrupted; run the same command again to resume"
        assert "Traceback" not in told
    assert result(tmp_path)["partial"]


def test_a_network_that_cannot_be_trained_is_a_row_with_its_reason() -> None:
    accuracy, seconds, reason = timed_accuracy("{}", data="cifar10", seconds=1)
    assert accuracy != accuracy
    assert seconds >= 0
    assert "Error: " in reason
    assert "\n" not in reason
