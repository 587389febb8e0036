"""A grid whose Ray is killed: a one-line error, results so far, and a successful resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import MEASURED, begin, images, wait_for
from tests.train.cluster.ray_processes import all_end, kill_one

LOST = "scaling.grid: Ray has ended on this machine: one of its processes crashed or was killed"


def trained(record: Path) -> int:
    """Return how many trainings the grid has recorded."""
    return json.loads(record.read_text())["outcome"]["trained"] if record.exists() else 0


@pytest.mark.slow
def test_a_grid_whose_ray_is_killed_is_resumed(tmp_path: Path) -> None:
    data, out = images(tmp_path / "images"), tmp_path / "out"
    words = [
        "--base",
        "mobilenet_v2",
        "--data",
        data,
        "--candidates",
        "4",
        "--seeds",
        "3",
        "--proxy-width",
        "0.1",
        *MEASURED,
    ]
    grid = begin("scaling.grid", [*words, "--out", str(out)], tmp_path)
    assert wait_for(lambda: grid.poll() is not None or trained(out / "grid.json") >= 2, 150)
    known = kill_one(grid.pid, "raylet")
    _, told = grid.communicate(timeout=60)
    assert grid.returncode == 1, told
    assert told.splitlines()[-1] == f"{LOST}; --resume --out {out} continues"
    assert "Traceback" not in told
    assert "[E " not in told  # lines of Ray's C++ code
    assert json.loads((out / "grid.json").read_text())["status"] == "failed"
    assert all_end(known, 60.0)
    before = trained(out / "grid.json")
    resumed = begin("scaling.grid", ["--resume", "--out", str(out)], tmp_path)
    _, told = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, told
    assert json.loads((out / "grid.json").read_text())["status"] == "finished"
    assert trained(out / "grid.json") > before
