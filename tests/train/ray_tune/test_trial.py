"""A single trial as a node runs it: its files, resuming, failures."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

from search_spaces.architecture import Architecture
from tests.train import toys
from tests.train.ray_tune.clusters import curve, record
from train.ray_tune import trial as trials
from train.ray_tune.store import Store, opened
from train.ray_tune.trial import Share, TrialProcess, work
from train.ray_tune.trial_record import end, ending, progress_row
from vbs.failures import InfrastructureError

TIMES = ("images_per_second", "memory_mb", "seconds")


def share(out: str) -> Share:
    return Share(
        data=None,
        out=out,
        settings={"data": "toys"},
        cpus=1,
        gpus=0,
        processes=1,
        loaders=0,
        cuda=False,
        retries=0,
        scratch="",
    )


def trial(*changes: str, network: Architecture = toys.NETWORK) -> dict[str, Any]:
    return {
        "name": "a",
        "network": "toy",
        "recipe": toys.recipe(*changes).to_dict(),
        "architecture": json.loads(network.to_json()),
    }


def several(out: str, what: dict[str, Any], tell: Any, *, first: bool = True) -> None:
    """Pretend to be one of two processes of a trial, without a second one."""
    both = dataclasses.replace(share(out), processes=2)
    work(what, toys.data(), both, TrialProcess(tell, "cpu", {"node": "here"}, first, several=True))


def run(out: str, what: dict[str, Any], tell: Any) -> None:
    work(what, toys.data(), share(out), TrialProcess(tell, "cpu", {"node": "here"}))


@pytest.mark.parametrize("kind", ["folder", "URL"])
def test_a_trial_that_was_cut_off_is_resumed_from_what_is_on_disk(
    tmp_path: Path, kind: str
) -> None:
    places = [tmp_path / name for name in ("whole", "parts")]
    outs = [str(place) if kind == "folder" else f"file://{place}" for place in places]
    heard: list[dict] = []
    run(outs[0], trial("epochs=3"), heard.append)

    def cut(row: dict) -> None:
        raise SystemExit  # as Ray Tune ends a trial

    with pytest.raises(SystemExit):
        run(outs[1], trial("epochs=3"), cut)
    one, other = (place / "trials" / "a" for place in places)
    assert len(curve(other)["rows"]) == 1
    assert not (other / "run.json").exists()
    later: list[dict] = []
    run(outs[1], trial("epochs=3"), later.append)
    assert [row["epoch"] for row in heard] == [1, 2, 3]
    assert [row["epoch"] for row in later] == [1, 2, 3]  # the first one is reported again
    rows = [
        [
            {name: value for name, value in row.items() if name not in TIMES}
            for row in curve(folder)["rows"]
        ]
        for folder in (one, other)
    ]
    assert rows[0] == rows[1]
    assert [where["after_epoch"] for where in curve(other)["where"]] == [0, 1]
    assert record(other)["status"] == "finished"
    assert record(other)["outcome"]["test"] == record(one)["outcome"]["test"]
    names = {path.name for path in other.iterdir()}
    assert names == {
        "best.safetensors",
        "last.safetensors",
        "curve.json",
        "curves.csv",
        "run.json",
        "tensorboard",
        "test_predictions.parquet",
    }
    tables = [parquet.read_table(each / "test_predictions.parquet") for each in (one, other)]
    assert tables[0].equals(tables[1])
    assert tables[0]["image"].to_pylist() == list(range(30))  # images without names by index


@pytest.mark.slow
def test_a_trial_is_a_run_of_the_project_in_every_tracking_tool(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    out = tmp_path / "many"
    both = dataclasses.replace(share(str(out)), log=("mlflow", "no_such_module:Logger"))
    process = TrialProcess(lambda row: None, "cpu", {"node": "here"})
    work(trial("epochs=2"), toys.data(), both, process)
    client = mlflow.MlflowClient(f"sqlite:///{out}/trials/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("many").experiment_id])
    assert (found.info.run_name, found.info.status) == ("a", "FINISHED")
    assert len(client.get_metric_history(found.info.run_id, "train_loss")) == 2
    assert record(out / "trials" / "a")["outcome"]["test"]["top1"] == pytest.approx(
        found.data.metrics["test_top1"]
    )
    assert not (out / "trials" / "a" / "tensorboard").exists()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (trial("lr=1000", "optimizer=sgd", "warmup_epochs=0", "epochs=9"), "the loss is"),
        (trial(network=dataclasses.replace(toys.NETWORK, classes=7)), "ValueError: classes: the"),
    ],
)
def test_what_goes_wrong_in_a_trial_is_its_record(tmp_path: Path, what, words) -> None:
    run(str(tmp_path), what, lambda row: None)
    known = record(tmp_path / "trials" / "a")
    assert known["status"] == "failed"
    assert words in known["outcome"]["failed"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        torch.distributed.DistBackendError("NCCL communicator was aborted"),
        RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
        InfrastructureError("data: the share is gone"),
        RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection reset by peer [10.0.0.2]"),
    ],
)
def test_what_is_no_fault_of_a_trial_is_raised_and_not_recorded(tmp_path: Path, error) -> None:
    def lose(row: dict) -> None:
        raise error

    with pytest.raises(type(error)):
        several(str(tmp_path), trial("epochs=3"), lose)
    folder = tmp_path / "trials" / "a"
    assert len(curve(folder)["rows"]) == 1
    assert not (folder / "run.json").exists()
    several(str(tmp_path), trial("epochs=3"), lambda row: None)
    assert record(folder)["status"] == "finished"


def test_a_trial_whose_checkpoint_is_damaged_begins_again(tmp_path: Path) -> None:
    def cut(row: dict) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        run(str(tmp_path), trial("epochs=2"), cut)
    state = tmp_path / "trials" / "a" / "last.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated"):  # Ray Tune starts it again
        run(str(tmp_path), trial("epochs=2"), lambda row: None)
    run(str(tmp_path), trial("epochs=2"), lambda row: None)
    assert record(state.parent)["status"] == "finished"


@pytest.mark.parametrize("reason", ["OSError: [Errno 28] No space left on device", "its own"])
def test_a_full_disk_that_an_earlier_version_recorded_is_no_ending(
    tmp_path: Path, reason: str
) -> None:
    store, what = Store(str(tmp_path)), trial("epochs=1")
    end(store, what, {}, [], failed=reason)
    assert (ending(store, "a") is None) == (reason != "its own")
    run(str(tmp_path), what, lambda row: None)
    expected = "failed" if reason == "its own" else "finished"
    assert record(tmp_path / "trials" / "a")["status"] == expected


def test_a_process_that_is_not_the_first_records_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(trials, "RECORDED", 0.1)

    def wrong(row: dict) -> None:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        several(str(tmp_path), trial("epochs=3"), wrong, first=False)
    assert not (tmp_path / "trials" / "a" / "run.json").exists()
    with pytest.raises(ValueError, match="something else"):  # after it is recorded
        several(str(tmp_path), trial("epochs=3"), wrong)
    assert record(tmp_path / "trials" / "a")["outcome"]["failed"] == "ValueError: something else"


def test_a_trial_that_the_driver_has_stopped_trains_no_further(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def stop(row: dict) -> None:
        end(store, trial(), {}, [], status="stopped")

    with pytest.raises(trials.Over):
        several(str(tmp_path), trial("epochs=3"), stop)
    folder = tmp_path / "trials" / "a"
    assert len(curve(folder)["rows"]) == 1
    end(store, trial(), {}, [], failed="too late")
    assert record(folder)["status"] == "stopped"


def test_the_row_of_an_epoch_counts_the_better_weights() -> None:
    row = {"epoch": 2, "seconds": 1.0, "train_loss": 0.5, "images_per_second": 9.0}
    assert progress_row(row) == row
    assert progress_row({**row, "val_top1": 40.0, "ema_top1": 50.0, "lr": 1})["top1"] == 50.0


def test_images_are_read_where_they_lie_in_shared_memory() -> None:
    split, buffers = toys.split(20, seed=1), []
    text = pickle.dumps(split, protocol=5, buffer_callback=buffers.append)
    assert len(text) < split.nbytes
    frozen = [memoryview(bytes(buffer)) for buffer in buffers]
    with np.errstate(all="raise"):
        other = pickle.loads(text, buffers=frozen)
    torch.testing.assert_close(other.pixels.images, split.pixels.images)
    assert any(len(buffer) == split.nbytes for buffer in frozen)


@pytest.mark.parametrize("kind", ["folder", "URL"])
def test_a_store_keeps_records_whole(tmp_path: Path, kind: str) -> None:
    store = Store(str(tmp_path / "s") if kind == "folder" else f"file://{tmp_path}/s")
    store.check()
    assert store.read("trials/x/curve.json") is None
    store.write("trials/x/curve.json", {"rows": [1]})
    store.write("trials/x/curve.json", {"rows": [1, 2]})
    assert store.read("trials/x/curve.json") == {"rows": [1, 2]}
    assert [path.name for path in (tmp_path / "s" / "trials" / "x").iterdir()] == ["curve.json"]
    (tmp_path / "s" / "run.json").write_text("[")
    with pytest.raises(ValueError, match=r"out: .*run\.json is damaged"):
        opened(store.place)
