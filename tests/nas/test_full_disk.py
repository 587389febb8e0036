"""`python -m nas.search` with a full disk during checkpoints, resumed after space is available."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet
import pytest
from PIL import Image

from tests.commands import FULL_DISK

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(FULL_DISK)
    path = os.pathsep.join((str(site), str(ROOT)))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "FULL": str(tmp_path / "full"),
    }


@pytest.fixture
def images(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    for name in ("red", "green"):
        (tmp_path / "images" / "train" / name).mkdir(parents=True)
        for index in range(16):
            pixels = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / "train" / name / f"{index}.png")
    return f"imagefolder:{tmp_path / 'images'}"


def search(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nas.search", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


@pytest.mark.slow
def test_a_full_disk_stops_the_search_and_its_networks_are_evaluated_later(
    tmp_path: Path, environment: dict[str, str], images: str
) -> None:
    out, full = tmp_path / "run", Path(environment["FULL"])
    full.touch()
    stopped = search(
        environment,
        "--evaluator",
        "proxy",
        "--data",
        images,
        "--target-flops",
        "2M",
        "--budget",
        "3",
        "--finalists",
        "0",
        "--fidelity",
        "epochs=1",
        "--set",
        "batch=8",
        "--set",
        "minival=0.25",
        "--workers",
        "1",
        "--device",
        "cpu",
        "--cache",
        "off",
        "--out",
        str(out),
    )
    assert stopped.returncode == 1, stopped.stderr
    line = stopped.stderr.splitlines()[-1]
    assert line.startswith(f"nas.search: {out.resolve()}/trainings/")
    assert line.endswith(f".safetensors: No space left on device; --resume --out {out} continues")
    assert not (out / "history.parquet").exists()
    url = f"sqlite:///{out / 'study.db'}"
    (trial,) = optuna.load_study(study_name="search", storage=url).trials
    assert (trial.state.name, trial.user_attrs["error"]) == ("FAIL", "interrupted")
    full.unlink()
    resumed = search(environment, "--resume", "--out", str(out))
    assert resumed.returncode == 0, resumed.stderr
    history = pyarrow.parquet.read_table(out / "history.parquet")
    assert history["error"].to_pylist() == [""] * 3


@pytest.mark.slow
def test_a_time_in_which_no_training_can_begin_is_said(
    tmp_path: Path, environment: dict[str, str], images: str
) -> None:
    ended = search(
        environment,
        "--evaluator",
        "proxy",
        "--data",
        images,
        "--target-flops",
        "2M",
        "--fidelity",
        "epochs=1",
        "--set",
        "batch=8",
        "--set",
        "minival=0.25",
        "--workers",
        "1",
        "--device",
        "cpu",
        "--cache",
        "off",
        "--max-time",
        "1ms",
        "--out",
        str(tmp_path / "run"),
    )
    assert ended.returncode == 1
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("nas.search: no training could start within --max-time")
    assert "one training takes about" in line
