"""The files for clusters, as far as they can be tried without one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"


def test_ray_takes_the_cluster_file() -> None:
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("jsonschema")
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((CLUSTER / "cluster.yaml").read_text()))
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["gpu"]["resources"]["GPU"] == 1
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}


FAKES = {
    "srun": """
echo "srun $*" >>"$TRACE"
while [[ $1 == -* ]]; do [[ $1 == -w ]] && shift; shift; done
exec "$@"
""",
    "scontrol": "echo one; echo two",
    "hostname": """
if [[ $1 == --ip-address ]]; then echo 127.0.1.1; else echo "fe80::1 127.0.0.2 $ADDRESS"; fi
""",
    # the head listens a second later than it is started; the others and the driver only say so
    "python": """
echo "python $*" >>"$TRACE"
if [[ "$*" == *ray_tune* ]]; then  # as the real one, it works while the other nodes come
    for ((i = 0; i < 200; i++)); do
        if grep -q -- "-w two" "$TRACE"; then break; fi
        sleep 0.1
    done
fi
[[ "$*" == *--head* ]] || exit 0
sleep 1
exec "$REAL" -c 'import socket, sys, time
with socket.create_server((sys.argv[1], int(sys.argv[2]))): time.sleep(9)' "$ADDRESS" "$PORT"
""",
}


def _address() -> str:
    """This machine's in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        try:
            line.connect(("192.0.2.1", 9))  # nothing is sent: only the way there is looked up
        except OSError:
            pytest.skip("this machine has no network")
        return line.getsockname()[0]


@pytest.mark.parametrize("out", [True, False])
def test_the_slurm_script_starts_the_driver_when_the_head_answers(tmp_path: Path, out) -> None:
    place = tmp_path / "bin"
    place.mkdir()
    for name, script in FAKES.items():
        (place / name).write_text(f"#!/bin/bash\n{script}")
        (place / name).chmod(0o755)
    number = os.getpid() % 10_000
    address = _address()
    trace = tmp_path / "trace"
    environment = {
        **os.environ, "PATH": f"{place}:{os.environ['PATH']}", "REAL": sys.executable,
        "TRACE": str(trace), "ADDRESS": address, "PORT": str(20_000 + number),
        "SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "one,two", "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "2", "SLURM_SUBMIT_DIR": str(tmp_path), "PYTHON": "python",
    }  # fmt: skip
    words = ["--architectures", "nets.json", *(["--out", "runs/a"] if out else [])]
    job = subprocess.run(
        ["bash", str(CLUSTER / "slurm.sh"), *words], env=environment, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    if not out:
        assert (job.returncode, "--out is missing" in job.stderr) == (2, True)
        return
    assert job.returncode == 0, job.stderr
    said = trace.read_text().splitlines()
    head = f"{address}:{20_000 + number}"
    driver = f"python -m train.ray_tune --address {head} --nodes 2 {' '.join(words)}"
    assert driver in said
    starts = [line for line in said if line.startswith("srun") and "ray.scripts" in line]
    assert all("--cpus-per-task=8" in line and "--num-gpus=2" in line for line in starts)
    assert f"--node-ip-address={address}" in starts[0]
    (other,) = [line for line in starts if "-w two" in line]
    assert other.endswith(f"--block --address={head}")
