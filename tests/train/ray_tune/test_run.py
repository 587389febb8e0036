"""Many trainings at once, on a simulated cluster with declared GPUs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.commands import ray_tune as run
from tests.commands import with_options
from tests.train.ray_tune.clusters import (
    PATIENCE,
    QUICK,
    curve,
    images,
    networks,
    record,
    trials,
    until,
)
from train.checkpoint import read_state
from train.cluster import connect as ray_connect

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start a head without GPU and two nodes with one declared GPU each."""
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
    words = [
        "--architectures",
        str(networks(place, count)),
        "--data",
        data,
        *QUICK,
        "--address",
        cluster.address,
    ]
    return with_options(words, *more)


def other_worker(cluster: Any, first: int) -> int:
    """Return the other process of a trial: it has the same title and runs under our nodes."""
    title = re.split(rb"[.\0 ]", Path(f"/proc/{first}/cmdline").read_bytes())[0]
    ours = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            same = re.split(rb"[.\0 ]", (place / "cmdline").read_bytes())[0] == title
        except OSError:
            continue  # the process has ended
        if same and parent in ours and int(place.name) != first:
            found.append(int(place.name))
    (other,) = found
    return other


@pytest.mark.slow
def test_a_failed_trial_is_never_called_completed(cluster, data, tmp_path, capfd) -> None:
    words = command(
        tmp_path,
        1,
        data,
        cluster,
        "--out",
        str(tmp_path / "out"),
        "--set",
        "lr=1000",
        "--set",
        "optimizer=sgd",
    )
    assert run(words) == 1
    shown = capfd.readouterr()
    assert "completed" not in shown.out + shown.err
    assert "1 failed" in shown.out


@pytest.mark.slow
def test_two_processes_train_one_network_together_and_are_resumed_when_one_is_lost(
    cluster, data, tmp_path, capsys
) -> None:
    out = tmp_path / "out"

    def lose_one() -> None:
        until(lambda: trials(out) and len(curve(trials(out)[0])["rows"]) >= 1)
        first = curve(trials(out)[0])["where"][0]["process"]
        os.kill(other_worker(cluster, first), signal.SIGKILL)

    with ThreadPoolExecutor(1) as thread:
        losing = thread.submit(lose_one)
        words = command(
            tmp_path,
            1,
            data,
            cluster,
            "--out",
            str(out),
            "--processes-per-trial",
            "2",
            "--gpus-per-trial",
            "2",
            "--set",
            "epochs=20",
        )
        code = run(words)
    losing.result()
    assert code == 0
    (trial,) = trials(out)
    assert record(trial)["status"] == "finished"
    assert len(curve(trial)["rows"]) == 20
    first, again = curve(trial)["where"]  # the survivor has not recorded a failure
    assert again["after_epoch"] >= 1
    assert again["process"] != first["process"]
    _, counters = read_state(trial / "last.safetensors")
    assert counters["processes"] == 2
    told = capsys.readouterr()
    assert "1 finished" in told.out
    assert "it is resumed from its last checkpoint" in told.err


@pytest.mark.slow
def test_two_trials_share_a_gpu_and_those_of_a_lost_node_are_resumed_elsewhere(
    cluster, data, tmp_path, capsys
) -> None:
    out, epochs, seen = tmp_path / "out", 30, {}

    def lose_a_node() -> None:
        until(lambda: sum(len(curve(trial)["rows"]) >= 3 for trial in trials(out)) == 3)
        going = [trial for trial in trials(out) if not (trial / "run.json").exists()]
        seen.update({trial.name: curve(trial) for trial in trials(out)})
        lost = seen[min(going, key=lambda trial: len(seen[trial.name]["rows"])).name]
        lost = lost["where"][-1]["node_id"]
        (node,) = [node for node in cluster.list_all_nodes() if node.node_id == lost]
        cluster.remove_node(node, allow_graceful=False)
        over = [t.name for t in trials(out) if (t / "run.json").exists()]
        seen.update(
            lost=lost,
            over=[name for name in over if len(curve(out / "trials" / name)["where"]) == 1],
        )

    with ThreadPoolExecutor(1) as thread:
        losing = thread.submit(lose_a_node)
        words = command(
            tmp_path,
            3,
            data,
            cluster,
            "--out",
            str(out),
            "--gpus-per-trial",
            "0.5",
            "--cpus-per-trial",
            "0.5",
            "--set",
            f"epochs={epochs}",
        )
        code = run(words)
    losing.result()
    cluster.add_node(num_cpus=2, num_gpus=1)
    assert code == 0
    lost, over = seen.pop("lost"), seen.pop("over")
    places = Counter(
        (known["where"][0]["node_id"], *known["where"][0]["gpus"]) for known in seen.values()
    )
    assert max(places.values()) == 2  # three trials at once on two GPUs
    moves = 0
    for trial in trials(out):
        rows, where = curve(trial)["rows"], curve(trial)["where"]
        assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
        assert record(trial)["status"] == "finished"
        if seen[trial.name]["where"][0]["node_id"] == lost and trial.name not in over:
            moves += 1
            assert where[-1]["node_id"] != lost
            # epochs with a checkpoint are not trained again
            assert where[1]["after_epoch"] >= len(seen[trial.name]["rows"])
        else:
            assert len(where) == 1
    assert moves
    told = capsys.readouterr().err
    assert "machine was lost; it is resumed" in told, told


@pytest.mark.slow
def test_a_killed_driver_loses_nothing(cluster, data, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "out"
    words = command(
        tmp_path,
        5,
        data,
        cluster,
        "--out",
        f"file://{out}",
        "--scheduler",
        "asha",
        "--factor",
        "2",
        "--workers",
        "2",
        "--set",
        "epochs=40",
        "--grace",
        "1",
    )
    driver = subprocess.Popen(
        [sys.executable, "-m", "train.ray_tune", *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )

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
    import train.ray_tune.tuner

    class Seen(train.ray_tune.tuner.Asha):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            schedulers.append(self.rungs)

    monkeypatch.setattr(train.ray_tune.tuner, "Asha", Seen)
    images(tmp_path / "other", count=31)
    resume = ["--resume", "--out", f"file://{out}", "--data"]
    assert run([*resume, f"imagefolder:{tmp_path / 'other'}"]) == 2
    assert "is not the run's data" in capsys.readouterr().err
    moved = f"imagefolder:{shutil.copytree(data.partition(':')[2], tmp_path / 'moved')}"
    assert run([*resume, moved]) == 0
    assert len(trials(out)) == len(over()) == 5
    for trial, (known, written) in before.items():  # finished trials are unchanged
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
    # all have ended: it only prints the table
    assert run(words) == 2
    assert "holds a run with other data" in capsys.readouterr().err
    words[words.index(data)] = moved
    assert run(words) == 0
    assert "train.export" not in capsys.readouterr().out  # a URL is not a folder


class Trial(SimpleNamespace):
    @property
    def config(self) -> dict[str, Any]:
        return {"trial": {"name": self.name}}


@pytest.mark.parametrize("seed", range(5))
def test_rungs_from_recorded_curves_decide_as_if_nothing_had_happened(seed: int) -> None:
    import numpy as np

    from train.ray_tune.asha import Asha

    rng = np.random.default_rng(seed)
    results = [
        (int(trial), float(top1))
        for trial, top1 in zip(rng.integers(12, size=90), rng.random(90) * 100, strict=True)
    ]

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


def test_a_last_row_that_was_never_decided_on_is_decided_on_when_it_is_reported_again() -> None:
    from train.ray_tune.asha import Asha

    curves = {f"n{n}": [{"epoch": 1, "top1": 50.0 + n}] for n in range(4)}
    asha = Asha(9, grace=1, factor=2, curves=curves)
    names = [f"n{n}" for n in range(4)]
    again = {name: Trial(trial_id=f"b-{name}", name=name) for name in names}
    for trial in again.values():
        asha.on_trial_add(None, trial)
    decisions = {n: asha.on_trial_result(None, again[n], curves[n][-1]) for n in names}
    assert decisions == {"n0": "STOP", "n1": "STOP", "n2": "CONTINUE", "n3": "CONTINUE"}
    # reported again after its process was lost, because it was decided already
    assert asha.on_trial_result(None, again["n2"], curves["n2"][-1]) == "CONTINUE"
    assert sorted(asha.rungs[1].values()) == [50.0, 51.0, 52.0, 53.0]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["--architectures", "missing.json"], "missing.json does not exist"),
        (["--architectures", "efficientnet_b9"], "did you mean efficientnet_b"),
        (["--address", "CLOSED"], "cannot be reached"),
        (["--address", "SILENT"], "cannot be reached (no answer in time)"),
        (["--address", "nonsense"], "address: 'nonsense' is not host:port"),
        (["--address", "ray://10.0.0.1:10001"], "is not supported"),
        (["--gpus-per-trial", "8"], "gpus: a trial needs 8 GPUs, but no node has more than 1"),
        (["--cpus-per-trial", "64"], "cpus: a trial needs 64 CPUs"),
        (["--gpus-per-trial", "1", "--processes-per-trial", "2"], "cannot share 1 GPUs"),
        (["--data", "ONE"], "use one folder of images for each of two classes or more"),
        (["--out", "/proc/here/out"], "out: /proc/here/out cannot be written"),
        (["--out", "nope://bucket/out"], "out: nope://bucket/out cannot be used"),
        (["--set", "epoch=1"], "a recipe has no field 'epoch'"),
        (["--scheduler", "pbt"], "--scheduler: 'pbt' is unknown; use one of asha, fifo"),
        (["--scheduler", "asha", "--set", "minival=0"], "asha needs held-out images"),
        (["--workers", "0"], "--workers: 0 is not allowed"),
        (["--scheduler", "asha", "--grace", "9", "--set", "epochs=4"], "9 is more than the 4"),
        (["--factor", "2"], "--factor: fifo stops nothing early"),
        (["--nodes", "2", "--address", "local"], "--nodes: there are no nodes to wait for"),
        (["--out", "memory://out"], "out: memory://out is lost with its process"),
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
        names = {
            "CLOSED": f"127.0.0.1:{closed.getsockname()[1]}",
            "SILENT": f"127.0.0.1:{silent.getsockname()[1]}",
        }
        if "ONE" in changes:
            names["ONE"] = f"imagefolder:{images(tmp_path / 'one', classes=('red',))}"
        words = command(tmp_path, 1, data, cluster, "--out", str(tmp_path / "out"))
        began = time.monotonic()
        changed = [names.get(word, word) for word in changes]
        assert run(with_options(words, *changed)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert complaint in told.err
    assert told.err.count("\n") == 1
    assert time.monotonic() - began < PATIENCE / 2
    assert not trials(tmp_path / "out")
