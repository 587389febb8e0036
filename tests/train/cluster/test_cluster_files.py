"""Files for clusters, as far as they can be tested without one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "cluster"


RAY = "2.60.0"  # the version in the files


@pytest.mark.parametrize("file", ["cluster.yaml", "gcp.yaml"])
def test_ray_takes_the_cluster_files(file: str) -> None:
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("jsonschema")
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((CLUSTER / file).read_text()))
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["gpu"]["resources"]["GPU"] == 1
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}
    assert any(f"ray[default,train,tune]=={RAY}" in line for line in config["setup_commands"])


def test_nodes_of_google_cloud_have_what_ray_asks_for() -> None:
    """Fields of Ray's own example with GPUs on Google Cloud (`example-gpu-docker.yaml`)."""
    yaml = pytest.importorskip("yaml")
    text = (CLUSTER / "gcp.yaml").read_text()
    config = yaml.safe_load(text)
    assert config["provider"]["project_id"] == "PROJECT"
    assert text.count("PROJECT") == 3  # the comment, and two places
    images = set()
    for kind in config["available_node_types"].values():
        node = kind["node_config"]
        (disk,) = node["disks"]
        assert disk["boot"]
        images.add(disk["initializeParams"]["sourceImage"])
        if kind["resources"]["GPU"]:
            assert node["guestAccelerators"][0]["acceleratorCount"] == kind["resources"]["GPU"]
            assert {"onHostMaintenance": "TERMINATE"} in node["scheduling"]
            assert node["metadata"]["items"] == [{"key": "install-nvidia-driver", "value": "True"}]
            # the account that Ray makes, DEFAULT_SERVICE_ACCOUNT_ID in its module gcp.config
            assert node["serviceAccounts"][0]["email"].startswith("ray-autoscaler-sa-v1@")
    assert len(images) == 1


def test_the_kubernetes_file_has_the_fields_of_a_ray_cluster() -> None:
    """Fields of docs.ray.io, "RayCluster Configuration" and "token authentication"."""
    yaml = pytest.importorskip("yaml")
    cluster, claim = yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert spec["rayVersion"] == RAY
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    head = spec["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    ports = {each["name"]: each["containerPort"] for each in _container(head)["ports"]}
    assert ports == {"gcs": 6379, "dashboard": 8265, "client": 10001}
    (workers,) = spec["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    assert workers["groupName"]
    assert workers["rayStartParams"] == {}
    assert _container(workers)["resources"]["limits"]["nvidia.com/gpu"] == 1
    for group in (head, workers):
        container = _container(group)
        assert container["image"] == _container(head)["image"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        (volume,) = group["template"]["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def _container(group: dict) -> dict:
    (container,) = group["template"]["spec"]["containers"]
    return container


def test_the_image_has_the_version_of_ray() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{RAY}-" in text
    assert f"ray[default,train,tune]=={RAY}" in text


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
    # the head listens a second after its start; nodes and driver only record their calls
    "python": """
echo "$RAY_AUTH_MODE ${RAY_AUTH_TOKEN-none}" >>"$TRACE.tokens"
echo "python $*" >>"$TRACE"
if [[ "$*" == *ray_tune* ]]; then  # like the real one, it works while the other nodes start
    for ((i = 0; i < 200; i++)); do
        if grep -q "^python .*--block --address" "$TRACE"; then break; fi
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
    """Return the address of this machine in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        try:
            line.connect(("192.0.2.1", 9))  # nothing is sent; only the route is looked up
        except OSError:
            pytest.skip("this machine has no network")
        return line.getsockname()[0]


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex((address, port)) != 0


def _environment(folder: Path, fakes: dict[str, str], **more: str) -> dict[str, str]:
    """Return the environment of a batch job on two nodes.

    The given commands replace those of Slurm, and record their calls.
    """
    place = folder / "bin"
    place.mkdir()
    for name, script in fakes.items():
        (place / name).write_text(f"#!/bin/bash\n{script}")
        (place / name).chmod(0o755)
    address = _address()
    number = next(number for number in range(10_000) if _is_free(address, 20_000 + number))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{place}:{os.environ['PATH']}",
        "REAL": sys.executable,
        "TRACE": str(folder / "trace"),
        "ADDRESS": address,
        "PORT": str(20_000 + number),
        "SLURM_JOB_ID": str(number),
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_SUBMIT_DIR": str(folder),
        "PYTHON": "python",
        **more,
    }


def _started(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(CLUSTER / "slurm.sh"), *words],
        env=environment,
        timeout=150,
        capture_output=True,
        text=True,
    )


def test_the_slurm_script_wants_a_folder_for_results(tmp_path: Path) -> None:
    job = _started(_environment(tmp_path, FAKES), "--architectures", "nets.json")
    assert (job.returncode, "--out is missing" in job.stderr) == (2, True)


@pytest.mark.parametrize("mode", ["", "token", "disabled"])
def test_the_slurm_script_starts_the_driver_when_the_head_answers(tmp_path: Path, mode) -> None:
    more = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "of the user"} if mode else {}
    environment = _environment(tmp_path, FAKES, **more)
    words = ["--architectures", "nets.json", "--out", "runs/a"]
    job = _started(environment, *words)
    assert job.returncode == 0, job.stderr
    said = (tmp_path / "trace").read_text().splitlines()
    head = f"{environment['ADDRESS']}:{environment['PORT']}"
    driver = f"python -m train.ray_tune --address {head} --nodes 2 {' '.join(words)}"
    assert driver in said
    starts = [line for line in said if line.startswith("srun") and "ray.scripts" in line]
    assert all("--cpus-per-task=8" in line and "--num-gpus=2" in line for line in starts)
    assert all("--export=ALL" in line for line in starts)
    assert f"--node-ip-address={environment['ADDRESS']}" in starts[0]
    (other,) = [line for line in starts if "-w two" in line]
    assert other.endswith(f"--block --address={head}")
    # head, node and driver agree, and the token is on no command line
    seen = (tmp_path / "trace.tokens").read_text().splitlines()
    assert len(seen) == 3
    assert len(set(seen)) == 1
    used, token = seen[0].split(" ", 1)
    assert used == (mode or "token")
    if used == "disabled":
        assert token == "none"
    else:
        assert re.fullmatch("[0-9a-f]{64}", token)
        assert token not in (tmp_path / "trace").read_text()


DRIVER = """
import os, sys
from train.cluster.connect import connect, disconnect, wait_for_nodes
address = sys.argv[sys.argv.index("--address") + 1]
connect(address)
wait_for_nodes(2, seconds=90)
import ray
assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
disconnect()
print("mode", os.environ["RAY_AUTH_MODE"])
"""
REAL = {
    **{name: script for name, script in FAKES.items() if name != "srun"},
    "srun": """
while [[ $1 == -* ]]; do [[ $1 == -w ]] && shift; shift; done
if [[ "$*" == *ray.scripts* ]]; then  # two nodes with the memory and the processors of one
    set -- "$@" --object-store-memory=100000000 --temp-dir="$RAYS"
    [[ "$*" == *--head* ]] || set -- "${@:1:$#-1}"
fi
exec "$@"
""",
    "python": """
if [[ "$*" == *ray_tune* ]]; then exec "$REAL" "$DRIVER" "$@"; fi
exec "$REAL" "$@"
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_the_slurm_script_starts_a_cluster_whatever_token_lies_in_home(
    tmp_path: Path, mode: str
) -> None:
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").write_text("stale")
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = _environment(
        tmp_path,
        REAL,
        HOME=str(tmp_path / "home"),
        RAY_AUTH_MODE=mode,
        SLURM_GPUS_ON_NODE="0",
        SLURM_CPUS_PER_TASK="1",
        DRIVER=str(tmp_path / "driver.py"),
        PYTHONPATH=str(ROOT),
        RAYS=f"/tmp/vbs-{os.getpid()}{mode[0]}",
    )
    job = subprocess.Popen(
        ["bash", str(CLUSTER / "slurm.sh"), "--out", "runs/a"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        # the nodes survive; Slurm would end them with the job
        assert job.wait(timeout=150) == 0, job.stderr and os.read(job.stderr.fileno(), 5000)
        assert job.stdout is not None
        assert job.stdout.readline() == f"mode {mode}\n"
    finally:
        os.killpg(job.pid, signal.SIGTERM)
        job.communicate(timeout=60)  # ends when all writers have ended
        shutil.rmtree(environment["RAYS"], ignore_errors=True)
