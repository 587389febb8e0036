"""Several processes train a network as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.checkpoint import read_state
from train.distributed import pick_device, world

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, processes: int, *arguments: str) -> str:
    folder.mkdir(exist_ok=True)
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    done = subprocess.run(
        [*start, "tests.train.two_processes", str(folder), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    outs = [run(tmp_path / str(count), count, "no-norms") for count in (1, 2)]
    assert outs[1].count("done  12") == 2
    one, two = (read_state(tmp_path / name / "last.safetensors") for name in ("1", "2"))
    assert one[0].keys() == two[0].keys()
    for name, value in one[0].items():
        torch.testing.assert_close(value, two[0][name], rtol=1e-4, atol=1e-5, msg=name)
    for own, other in zip(one[1]["history"], two[1]["history"], strict=True):
        for name in ("train_loss", "val_loss", "ema_loss", "val_top1"):
            assert own[name] == pytest.approx(other[name], rel=1e-4), name


@pytest.mark.slow
def test_too_large_a_learning_rate_ends_all_processes(tmp_path: Path) -> None:
    out = run(tmp_path / "x", 2, "norms", "lr=1000", "epochs=9", "warmup_epochs=0")
    assert out.count("the loss is") == 2


def test_a_world_of_one_needs_no_connection() -> None:
    with world("cpu") as here:
        assert (here.rank, here.size, here.first) == (0, 1, True)
        assert here.total(torch.tensor([2.0])).tolist() == [2.0]


@pytest.mark.parametrize("name", ["tpu", "mps", "cuda:99"])
def test_devices_that_are_not_there_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"device: '{name}'"):
        pick_device(name)
