"""Many trainings at once, on a simulated cluster whose GPUs are only declared."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.train.ray_clusters import (
    PATIENCE,
    QUICK,
    curve,
    images,
    networks,
    record,
    trials,
    until,
)  # fmt: skip
from train import ray_connect
from train.checkpoint import read_state
from train.ray_command import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without GPU, and two nodes with one each; none of them exists."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        cluster.add_node(num_cpus=2, num_gpus=1)
    ray_connect.connect(cluster.address)
    yield cluster
    ray_connect.disconnect()
    cluster.shutdown()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"imagefolder:{images(tmp_path_factory.mktemp('images'))}"


def command(place: Path, count: int, data: str, cluster: Any, *more: str) -> list[str]:
    return ["--architectures", str(networks(place, count)), "--data", data, *QUICK,
            "--address", cluster.address, *more]  # fmt: skip


def test_two_workers_train_one_network_together(cluster, data, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    words = command(tmp_path, 1, data, cluster, "--out", str(out), "--workers-per-trial", "2",
                    "--gpus-per-trial", "2", "--set", "epochs=2")  # fmt: skip
    assert run(words) == 0
    (trial,) = trials(out)
    assert record(trial)["status"] == "finished"
    assert len(curve(trial)["rows"]) == 2
    _, counters = read_state(trial / "last.safetensors")
    assert counters["processes"] == 2
    assert "1 finished" in capsys.readouterr().out


def test_two_trials_share_a_gpu_and_those_of_a_lost_node_go_on_elsewhere(
    cluster, data, tmp_path, capsys
) -> None:
    out, epochs, seen = tmp_path / "out", 30, {}

    def lose_a_node() -> None:
        until(lambda: sum(len(curve(trial)["rows"]) >= 3 for trial in trials(out)) == 3)
        seen.update({trial.name: curve(trial) for trial in trials(out)})
        lost = curve(trials(out)[0])["where"][-1]["node_id"]
        (node,) = [node for node in cluster.list_all_nodes() if node.node_id == lost]
        cluster.remove_node(node, allow_graceful=False)
        seen["lost"] = lost

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    words = command(tmp_path, 3, data, cluster, "--out", str(out), "--gpus-per-trial", "0.5",
                    "--cpus-per-trial", "0.5", "--set", f"epochs={epochs}")  # fmt: skip
    code = run(words)
    thread.join()
    cluster.add_node(num_cpus=2, num_gpus=1)
    assert code == 0
    lost = seen.pop("lost")
    places = Counter((known["where"][0]["node_id"], *known["where"][0]["gpus"])
                     for known in seen.values())  # fmt: skip
    assert max(places.values()) == 2  # three trials at once on two GPUs
    for trial in trials(out):
        rows, where = curve(trial)["rows"], curve(trial)["where"]
        assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
        assert record(trial)["status"] == "finished"
        moved = seen[trial.name]["where"][0]["node_id"] == lost
        assert len(where) == 1 + moved
        if moved:
            assert where[1]["node_id"] != lost
            # what was on disk is not trained again
            assert where[1]["after_epoch"] >= len(seen[trial.name]["rows"])
    told = capsys.readouterr().err
    assert "machine was lost; it goes on" in told, told


def test_a_killed_driver_loses_nothing(cluster, data, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "out"
    words = command(
        tmp_path, 5, data, cluster, "--out", f"file://{out}", "--scheduler", "asha", "--factor",
        "2", "--max-concurrent", "1", "--set", "epochs=16",
    )  # fmt: skip
    driver = subprocess.Popen(
        [sys.executable, "-m", "train.ray_tune", *words], cwd=ROOT, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip

    def over() -> list[Path]:
        return [trial for trial in trials(out) if (trial / "run.json").exists()]

    def half_done() -> bool:
        assert driver.poll() is None, driver.communicate()
        begun = [trial for trial in trials(out) if len(curve(trial)["rows"]) >= 2]
        return bool(over()) and any(trial not in over() for trial in begun)

    until(half_done)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = {trial: (curve(trial), (trial / "run.json").stat().st_mtime_ns) for trial in over()}
    begun = {trial: curve(trial) for trial in trials(out) if trial not in before}
    schedulers = []
    import train.ray_driver

    class Seen(train.ray_driver.Asha):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            schedulers.append(self.rungs)

    monkeypatch.setattr(train.ray_driver, "Asha", Seen)
    assert run(["--resume", "--out", f"file://{out}"]) == 0
    assert len(trials(out)) == len(over()) == 5
    for trial, (known, written) in before.items():  # those that were over were left alone
        assert curve(trial) == known
        assert (trial / "run.json").stat().st_mtime_ns == written
    for trial, known in begun.items():
        where = curve(trial)["where"]
        assert where[-1]["after_epoch"] >= len(known["rows"])
        assert len(where) == len(known["where"]) + 1
    first = schedulers[0][1]  # the rung after one epoch
    for trial, known in {**{t: c for t, (c, _) in before.items()}, **begun}.items():
        if known["rows"]:
            assert first[trial.name] == known["rows"][0]["val_top1"]
    capsys.readouterr()
    # all are over: the table again, and nothing else
    assert run(words) == 0
    assert "train.export" not in capsys.readouterr().out  # a URL is no folder


class Trial(SimpleNamespace):
    @property
    def config(self) -> dict[str, Any]:
        return {"trial": {"name": self.name}}


@pytest.mark.parametrize("seed", range(5))
def test_rungs_from_recorded_curves_decide_as_if_nothing_had_happened(seed: int) -> None:
    import numpy as np

    from train.ray_asha import Asha

    rng = np.random.default_rng(seed)
    results = [(int(trial), float(top1)) for trial, top1 in
               zip(rng.integers(12, size=90), rng.random(90) * 100, strict=True)]  # fmt: skip

    def asha(curves: dict[str, Any], trials: list[Trial]) -> Asha:
        made = Asha(9, grace=1, factor=3, curves=curves)
        for trial in trials:
            made.on_trial_add(None, trial)
        return made

    whole = [Trial(trial_id=f"a{n}", name=f"n{n}") for n in range(12)]
    again = [Trial(trial_id=f"b{n}", name=f"n{n}") for n in range(12)]
    one, curves, decisions = asha({}, whole), {f"n{n}": [] for n in range(12)}, []
    other, others = None, []
    for number, (index, top1) in enumerate(results):
        if number == 20:
            other = asha(curves, again)
        rows = curves[f"n{index}"]
        row = {"epoch": len(rows) + 1, "top1": top1}
        decision = one.on_trial_result(None, whole[index], row)
        if other is not None:
            decisions.append(decision)
            others.append(other.on_trial_result(None, again[index], row))
        rows.append(row)
    assert others == decisions
    assert "STOP" in others
    values = [{m: sorted(r.values()) for m, r in each.rungs.items()} for each in (one, other)]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["--architectures", "missing.json"], "missing.json: no such file"),
        (["--architectures", "efficientnet_b9"], "did you mean efficientnet_b"),
        (["--address", "CLOSED"], "cannot be reached"),
        (["--address", "SILENT"], "cannot be reached (no answer in time)"),
        (["--address", "nonsense"], "address: 'nonsense' is not host:port"),
        (["--address", "ray://10.0.0.1:10001"], "is not supported"),
        (["--gpus-per-trial", "8"], "gpus: a trial wants 8 GPUs, but no node has more than 1"),
        (["--cpus-per-trial", "64"], "cpus: a trial wants 64 CPUs"),
        (["--gpus-per-trial", "1", "--workers-per-trial", "2"], "cannot share 1 GPUs"),
        (["--data", "ONE"], "use one folder of images for each of two classes or more"),
        (["--out", "/proc/here/out"], "out: /proc/here/out cannot be written"),
        (["--out", "nope://bucket/out"], "out: nope://bucket/out cannot be used"),
        (["--set", "epoch=1"], "a recipe has no field 'epoch'"),
        (["--scheduler", "pbt"], "--scheduler: 'pbt' is unknown; use asha or fifo"),
        (["--scheduler", "asha", "--set", "minival=0"], "asha needs images held out"),
        (["--max-concurrent", "0"], "--max-concurrent: 0 is not allowed"),
        (["--set", "batch=512"], "512 images are more than the 72 to train on"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    cluster, data, tmp_path, monkeypatch, capsys, changes, complaint
) -> None:
    monkeypatch.setattr(ray_connect, "PROBE", 0.5)
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        names = {"CLOSED": f"127.0.0.1:{closed.getsockname()[1]}",
                 "SILENT": f"127.0.0.1:{silent.getsockname()[1]}"}  # fmt: skip
        if "ONE" in changes:
            names["ONE"] = f"imagefolder:{images(tmp_path / 'one', classes=('red',))}"
        words = command(tmp_path, 1, data, cluster, "--out", str(tmp_path / "out"))
        began = time.monotonic()
        assert run([*words, *(names.get(word, word) for word in changes)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert complaint in told.err
    assert told.err.count("\n") == 1
    assert time.monotonic() - began < PATIENCE / 2
    assert not trials(tmp_path / "out")


def test_another_run_in_the_same_place_is_refused(tmp_path, capsys) -> None:
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    assert "there is no run.json" in capsys.readouterr().err
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"network": "x"}}))
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    assert "a run of another kind" in capsys.readouterr().err
