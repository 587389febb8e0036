"""Many trainings whose Ray is killed or that are interrupted: results so far, and a resumed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import FULL_DISK
from tests.train.cluster.ray_processes import all_end, descendants, kill_one
from tests.train.ray_tune.clusters import QUICK, curve, images, networks, record, trials, until

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "train.ray_tune"]
LOST = "train.ray_tune: Ray has ended on this machine: one of its processes crashed or was killed"


def started(folder: Path) -> subprocess.Popen[str]:
    """Start a run of two trials, one after the other; return when the second one runs."""
    words = [
        "--architectures",
        str(networks(folder, 2)),
        "--data",
        f"imagefolder:{images(folder / 'images', count=16)}",
        *QUICK,
        "--set",
        "epochs=40",
        "--out",
        str(folder / "out"),
    ]
    tuner = subprocess.Popen(
        [*COMMAND, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    def begun() -> bool:
        assert tuner.poll() is None, tuner.communicate()
        return any(len(curve(trial)["rows"]) >= 2 for trial in trials(folder / "out"))

    until(begun)
    return tuner


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raylet", "SIGINT"])
def test_trainings_that_end_before_their_time_are_resumed(tmp_path: Path, how: str) -> None:
    out = tmp_path / "out"
    with started(tmp_path) as tuner:
        if how == "raylet":
            known = kill_one(tuner.pid, "raylet")
        else:
            known = descendants(tuner.pid)
            tuner.send_signal(signal.SIGINT)
        shown, told = tuner.communicate(timeout=90)
    assert "Traceback" not in told
    assert "[E " not in told  # lines of Ray's C++ code
    if how == "raylet":
        assert told.splitlines()[-1] == f"{LOST}; --resume continues"
        assert (tuner.returncode, record(out)["status"]) == (1, "failed")
    else:
        assert told.splitlines()[-1].startswith("train.ray_tune: interrupted")
        assert (tuner.returncode, record(out)["status"]) == (130, "interrupted")
    assert "train.ray_tune --resume --out" in shown
    rows = json.loads((out / "results.json").read_text())["trials"]
    assert sum(row["epochs"] for row in rows) >= 2
    assert {row["status"] for row in rows} <= {"finished", "interrupted", "waiting"}
    assert all_end(known, 60.0)
    before = {trial.name: curve(trial)["rows"] for trial in trials(out)}
    resumed = subprocess.run(
        [*COMMAND, "--resume", "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "2 finished" in resumed.stdout
    for trial in trials(out):
        known_rows = before.get(trial.name, [])
        assert curve(trial)["rows"][: len(known_rows)] == known_rows
        assert len(curve(trial)["rows"]) == 40


@pytest.mark.slow
def test_a_full_disk_fails_no_network_and_its_trials_are_trained_later(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FULL_DISK)
    full, out = tmp_path / "full", tmp_path / "out"
    full.touch()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(tmp_path / "site"), str(ROOT))),
        "FULL": str(full),
    }
    words = [
        "--architectures",
        str(networks(tmp_path, 2)),
        "--data",
        f"imagefolder:{images(tmp_path / 'images', count=16)}",
        *QUICK,
        "--set",
        "epochs=2",
        "--retries",
        "1",
        "--out",
        str(out),
    ]

    def tune(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=240
        )

    stopped = tune(*words)
    assert stopped.returncode == 1, stopped.stderr
    assert "Traceback" not in stopped.stderr
    last = stopped.stderr.splitlines()[-1]
    assert "No space left on device" in last
    assert ".safetensors" in last
    assert last.endswith(f"; --resume --out {out} trains them")
    assert "train.ray_tune --resume --out" in stopped.stdout
    full.unlink()
    resumed = tune("--resume", "--out", str(out))
    assert resumed.returncode == 0, resumed.stderr
    assert "2 finished" in resumed.stdout
