"""Runs that go on, and what is refused: other questions, damaged records, a second driver."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.train import toys
from train import ray_connect, ray_owner
from train.ray_command import run
from train.ray_owner import owned
from train.ray_store import Store
from vbs import lock


def test_another_run_in_the_same_place_is_refused(tmp_path, capsys) -> None:
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    assert "there is no run.json" in capsys.readouterr().err
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"network": "x"}}))
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    assert "a run of another kind" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--set=epochs=9", "--recipe=proxy", "--scheduler=asha",
                                    "--seeds=3", "--grace=2", "--architectures=x"])  # fmt: skip
def test_a_run_that_goes_on_is_not_asked_for_something_else(tmp_path, capsys, option) -> None:
    assert run(["--resume", "--out", str(tmp_path), option]) == 2
    told = capsys.readouterr().err
    assert f"resume: leave out {option.partition('=')[0]}; run.json knows it" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workers": "2"}, "workers: '2' is of the wrong kind"),
        ({"how": None}, "how: 'None' is of the wrong kind"),
        ({"trials": []}, "trials: there are none"),
        ({"name": "../../x"}, "trials[0]: name: '../../x' is no trial's"),
        ({"architecture": {"stages": 3}}, "trials[0]: "),
    ],
)
def test_a_damaged_record_is_said_in_one_line(tmp_path, capsys, change, words) -> None:
    network = json.loads(toys.NETWORK.to_json())
    trial = {"name": f"{toys.NETWORK.key}-s0", "network": "toy", "architecture": network,
             "recipe": toys.recipe().to_dict()}  # fmt: skip
    how = dict.fromkeys(("address", "gpus_per_trial", "cpus_per_trial", "loaders",
                         "max_concurrent", "retries"))  # fmt: skip
    settings = {
        "data": "cifar10", "data_root": None, "minival": 0.1, "split_seed": 0, "workers": 1,
        "scheduler": "fifo", "grace": 1, "factor": 4.0, "asked": "", "data_settings": {},
        "trials": [{**trial, **change} if {*change} <= {*trial} else trial], "how": how,
    }  # fmt: skip
    settings |= {name: value for name, value in change.items() if name in settings}
    (tmp_path / "run.json").write_text(json.dumps({"settings": settings}))
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "run.json is damaged (" in told
    assert words in told
    assert told.count("\n") == 1


@pytest.fixture(params=["folder", "url"])
def store(request, tmp_path, monkeypatch) -> Store:
    """A place of results, as a folder and as a URL, which cannot be locked in one step."""
    monkeypatch.setattr(ray_owner, "FAR", 0.05)
    return Store(str(tmp_path) if request.param == "folder" else f"file://{tmp_path}")


def test_one_place_has_one_driver_as_long_as_it_lives(store, tmp_path) -> None:
    with owned(store):
        with pytest.raises(ValueError, match="in use by"), owned(store):
            pass
        mine = store.read("owner.json")
    assert store.read("owner.json") is None
    gone = {**mine, "pid": 2**22 + 1}  # more than any process of this machine
    elsewhere = {**mine, "host": "elsewhere", "processes": "others", "beat": time.time()}
    for known, age in ((gone, 0), (elsewhere, 999), ({"pid": "?"}, 0)):
        store.write("owner.json", {**known, "beat": time.time() - age})
        os.utime(tmp_path / "owner.json", (time.time() - age, time.time() - age))
        with owned(store):
            pass
    store.write("owner.json", elsewhere)
    with pytest.raises(ValueError, match="on elsewhere"), owned(store):
        pass


def test_of_drivers_that_begin_together_one_stays(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ray_owner, "FAR", 0.05)
    store = Store(f"file://{tmp_path}")
    written = store.write

    def together(name, content) -> None:
        written(name, content)
        written(name, {**content, "id": "other"})  # it had looked before, too

    monkeypatch.setattr(store, "write", together)
    with pytest.raises(ValueError, match="in use by"), owned(store):
        pass
    assert store.read("owner.json")["id"] == "other"


def test_a_driver_that_was_given_up_ends(store, monkeypatch, capsys) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.05)

    def driven() -> None:
        with owned(store):
            store.write("owner.json", {"id": "other", "pid": 7, "host": "elsewhere"})
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        driven()
    assert "process 7 on elsewhere works in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The actor died unexpectedly before finishing this task.\nThe node has died.", "machine"),
        ("The actor ab12 is unavailable: RPC error: Socket closed", "its process or its machine"),
        ("ray::train()\nTraceback:\nray.exceptions.ActorDiedError: it died", "its process died"),
        ("Task was killed due to the node running low on memory.", "ran out of memory"),
        ("Traceback:\ntorch.OutOfMemoryError: no memory", "torch.OutOfMemoryError: no memory"),
        ("Traceback:\nOSError: Network is unavailable", "OSError: Network is unavailable"),
        (RuntimeError("the lamp died"), "RuntimeError: the lamp died"),
    ],
)
def test_only_what_ray_says_itself_is_taken_for_a_lost_process(text, words) -> None:
    assert words in ray_connect.death(text)
