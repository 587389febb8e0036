"""A search whose Ray is killed: a one-line error, results so far, and a successful resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.cluster.ray_processes import all_end, kill_one

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 150.0
LOST = "Ray has ended on this machine: one of its processes crashed or was killed"


def folder_of_images(place: Path, count: int = 16) -> str:
    """Write an image folder of 2 classes that differ in colour."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("red", "green")):
        (place / "train" / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(100, size=(32, 32, 3), dtype=np.uint8)
            pixels[..., label] += 100
            Image.fromarray(pixels).save(place / "train" / name / f"{index}.png")
    return f"imagefolder:{place}"


@pytest.mark.slow
def test_a_search_whose_ray_is_killed_writes_its_results(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [
        "--evaluator",
        "proxy",
        "--data",
        folder_of_images(tmp_path / "images"),
        "--target-flops",
        "2M",
        "--budget",
        "400",
        "--fidelity",
        "epochs=2,share=0.8",
        "--set",
        "batch=8",
        "--set",
        "minival=0.25",
        "--workers",
        "2",
        "--device",
        "cpu",
        "--scheduler",
        "fifo",
        "--out",
        str(out),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nas.search"]
    with subprocess.Popen(
        [*command, *words],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as search:
        end = time.monotonic() + PATIENCE
        while not _scored(out):
            assert search.poll() is None, search.communicate()
            assert time.monotonic() < end
            time.sleep(0.2)
        known = kill_one(search.pid, "raylet")
        shown, told = search.communicate(timeout=60)
    assert search.returncode == 1, told
    assert told.splitlines()[-1].startswith(f"nas.search: {LOST}; --resume --out ")
    assert "Traceback" not in told
    assert "[E " not in told  # lines of Ray's C++ code
    assert "networks evaluated" in shown
    record = json.loads((out / "search.json").read_text())
    assert record["status"] == "failed"
    assert json.loads((out / "best.json").read_text())["architecture"]
    assert all_end(known, 60.0)
    before = json.loads((out / "search.json").read_text())["outcome"]["evaluated"]
    resumed = subprocess.run(
        [*command, "--resume", "--out", str(out), "--budget", str(before + 1)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((out / "search.json").read_text())["outcome"]["evaluated"] > before


def _scored(folder: Path) -> bool:
    """Return whether the study has an evaluated network."""
    import sqlite3

    try:
        with sqlite3.connect(f"file:{folder / 'study.db'}?mode=ro", uri=True) as study:
            query = "SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'"
            return study.execute(query).fetchone()[0] >= 2
    except sqlite3.Error:
        return False
