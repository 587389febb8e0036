"""Processors that this process may use: affinity, and quotas of control groups (cgroups)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vbs.cgroups import throttled
from vbs.processes import available_cpus

ROOT = Path(__file__).resolve().parents[1]
HERE = len(os.sched_getaffinity(0))

needs_two = pytest.mark.skipif(HERE < 2, reason="needs two processors")


def group(root: Path, files: dict[str, str], *, own: str) -> tuple[Path, Path]:
    """Create a fake mount of control groups and the file that lists this process's groups."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "own").write_text(own)
    return root, root / "own"


VERSION_2 = {
    "cgroup.controllers": "cpu io\n",
    "pod/cpu.max": "100000 100000\n",
    "pod/box/cpu.max": "max 100000\n",
}


@needs_two
def test_a_quota_of_a_group_above_counts(tmp_path: Path) -> None:
    root, own = group(tmp_path, VERSION_2, own="0::/pod/box\n")
    assert available_cpus(root, own) == 1


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000", HERE),
        ("150000 100000", min(2, HERE)),
        ("1000 100000", 1),
        ("6400000 100000", HERE),
        ("nonsense", HERE),
        ("", HERE),
        ("0 0", HERE),
    ],
)
def test_quotas_are_rounded_up(tmp_path: Path, quota: str, cpus: int) -> None:
    files = {"cgroup.controllers": "cpu\n", "cpu.max": quota}
    # the host's path is not visible in a container; then the mount is its own group
    root, own = group(tmp_path, files, own="0::/kubepods/pod1/abc\n")
    assert available_cpus(root, own) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("100000", 1), ("-1", HERE)])
def test_quotas_of_the_first_version(tmp_path: Path, quota: str, cpus: int) -> None:
    files = {
        "cpu,cpuacct/cgroup.procs": "",
        "cpu,cpuacct/job/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        "unified/cgroup.controllers": "",
    }
    own = "5:memory:/job\n4:cpu,cpuacct:/job\n0::/job\nodd\n"
    root, own_file = group(tmp_path, files, own=own)
    assert available_cpus(root, own_file) == cpus


def test_without_control_groups(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "no", tmp_path / "none") == HERE
    assert throttled(tmp_path / "no", tmp_path / "none") == 0


def test_throttled_periods_are_added_up(tmp_path: Path) -> None:
    files = {
        **VERSION_2,
        "pod/cpu.stat": "usage_usec 1\nnr_throttled 7\n",
        "pod/box/cpu.stat": "nr_periods 9\nnr_throttled 2\n",
    }
    assert throttled(*group(tmp_path, files, own="0::/pod/box\n")) == 9


PROGRAM = """
import os, sys
from vbs.processes import available_cpus
from train.distributed import pick_device
from train.options import DeviceOptions, loaders_of
from nas.slots import _nodes
import torch
torch.set_num_threads(8)
pick_device("cpu")
print(available_cpus(), torch.get_num_threads(), _nodes(None)[0]["CPU"],
      loaders_of(DeviceOptions()))
"""


@pytest.mark.slow
def test_one_processor_is_one_thread_and_one_worker() -> None:
    """Effect of `taskset -c 0` on torch, parallel trainings and loader processes."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: os.sched_setaffinity(0, {0}),
    )
    assert done.stdout.split() == ["1", "1", "1.0", "0"], done.stderr[-500:]


RAY = """
from train.cluster.connect import connect, total
connect()
print(total("CPU"))
"""


@pytest.mark.slow
def test_a_local_ray_has_the_available_processors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RAY],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: os.sched_setaffinity(0, {0}),
    )
    assert done.stdout.split() == ["1.0"], done.stderr[-500:]
