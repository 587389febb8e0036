"""The files for clusters, as far as they can be tried without one."""

from __future__ import annotations

import subprocess
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


def test_the_slurm_script_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sh")], check=True)
