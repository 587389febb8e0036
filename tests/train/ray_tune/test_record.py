"""Resumed runs, and those that are refused: other settings, damaged records, a second driver."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest

from tests.commands import ray_tune as run
from tests.train import toys
from train.cluster import connect as ray_connect
from train.ray_tune import lease
from train.ray_tune.config import COMMAND, TuneConfig
from train.ray_tune.lease import owned
from train.ray_tune.plan import Plan, new_plan
from train.ray_tune.record import resumed_plan, write_plan
from train.ray_tune.store import Store
from train.recipe import NORM_STATISTICS
from vbs import lock
from vbs.config import from_values
from vbs.config_file import read_values
from vbs.options import read_request


def test_another_run_in_the_same_place_is_refused(tmp_path, capsys) -> None:
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    assert "there is no run.json" in capsys.readouterr().err
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"network": "x"}}))
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    assert "a run of another kind" in capsys.readouterr().err


def settings_of_0_1() -> dict:
    """Return the settings in run.json of version 0.1."""
    network = json.loads(toys.NETWORK.to_json())
    trial = {
        "name": f"{toys.NETWORK.key}-s0",
        "network": "toy",
        "architecture": network,
        "recipe": toys.recipe().to_dict(),
    }
    how = dict.fromkeys(
        ("address", "gpus_per_trial", "cpus_per_trial", "loaders", "max_concurrent", "retries")
    )
    return {
        "data": "cifar10",
        "data_root": None,
        "minival": 0.1,
        "split_seed": 0,
        "workers": 1,
        "scheduler": "fifo",
        "grace": 1,
        "factor": 4.0,
        "asked": "",
        "data_settings": {},
        "trials": [trial],
        "how": how,
        "norm_statistics": NORM_STATISTICS,
    }


def plan_in(place, scheduler: str = "asha") -> Plan:
    """Write a plan into the run.json of a folder; return it."""
    (place / "net.json").write_text(toys.NETWORK.to_json())
    config = TuneConfig(
        architectures=(str(place / "net.json"),),
        data="cifar10",
        scheduler=scheduler,
        workers=2,
        seeds=2,
        changes=("epochs=4",),
    )
    plan = new_plan(config)
    trials = [
        {**trial, "name": f"{toys.NETWORK.key}-s{number}"}
        for number, trial in enumerate(plan.trials)
    ]
    plan = dataclasses.replace(plan, trials=trials, data_settings={})
    write_plan(Store(str(place)), plan, status="interrupted")
    return plan


@pytest.mark.parametrize(
    "option",
    [
        "--set=epochs=9",
        "--recipe=scratch",
        "--scheduler=fifo",
        "--seeds=3",
        "--grace=2",
        "--architectures=x",
    ],
)
@pytest.mark.parametrize("version", ["0.1", "now"])
def test_a_resumed_run_cannot_be_changed_to_another(tmp_path, capsys, option, version) -> None:
    plan_in(tmp_path)
    if version == "0.1":
        settings = {**settings_of_0_1(), "scheduler": "asha"}
        (tmp_path / "run.json").write_text(json.dumps({"settings": settings}))
    assert run(["--resume", "--out", str(tmp_path), option]) == 2
    told = capsys.readouterr().err
    assert f"{option.partition('=')[0]}: " in told
    assert "leave it out, or start a new run in another --out" in told
    assert told.count("\n") == 1


def test_what_is_not_given_again_is_as_it_was(tmp_path) -> None:
    plan = plan_in(tmp_path)
    known = Store(str(tmp_path)).read("run.json")
    assert resumed_plan(str(tmp_path), known, None, {}) == plan
    changed = resumed_plan(str(tmp_path), known, None, {"workers": 5}).config
    assert changed == dataclasses.replace(plan.config, workers=5)
    again = new_plan(dataclasses.replace(plan.config, workers=None, address="auto", nodes=2))
    config = resumed_plan(str(tmp_path), known, again, {}).config
    assert (config.workers, config.address, config.nodes) == (2, "auto", 2)
    for other in ({"grace": 2}, {"seeds": 3}, {"data": "cifar100"}, {"changes": ("epochs=3",)}):
        asked = new_plan(dataclasses.replace(plan.config, **other))
        with pytest.raises(ValueError, match="holds a run with other"):
            resumed_plan(str(tmp_path), known, asked, {})
    assert from_values(TuneConfig, read_values(str(tmp_path / "run.json")).values) == plan.config


def test_what_version_0_1_recorded_is_resumed_as_it_was(tmp_path) -> None:
    how = {
        "address": "10.0.0.1:6379",
        "gpus_per_trial": 2,
        "cpus_per_trial": None,
        "loaders": 3,
        "max_concurrent": 7,
        "retries": 0,
    }
    settings = {**settings_of_0_1(), "scheduler": "asha", "grace": 2, "workers": 2, "how": how}
    plan = resumed_plan("out", {"settings": settings}, None, {"retries": 5})
    config = plan.config
    assert (config.processes_per_trial, config.workers, config.retries) == (2, 7, 5)
    assert (config.grace, config.factor, config.loaders) == (2, 4.0, 3)
    assert plan.trials == settings["trials"]


@pytest.mark.parametrize(
    ("words", "seeds", "warned"),
    [
        (["--seeds", "3"], [0, 1, 2], False),
        (["--seed-list", "5", "7"], [5, 7], False),
        (["--seeds", "5", "7"], [5, 7], True),
        (["--seeds", "0"], [0], True),
        (["--set", "seed=4", "--seeds", "2"], [4, 5], False),
        ([], [0], False),
    ],
)
def test_seeds_are_a_number_and_lists_have_an_option(words, seeds, warned, capsys) -> None:
    words = ["--architectures", "mobilenet_v2", "--data", "cifar10", *words]
    plan = new_plan(from_values(TuneConfig, read_request(COMMAND, words).values))
    assert [trial["recipe"]["seed"] for trial in plan.trials] == seeds
    assert ("warning: --seeds is now a number of seeds" in capsys.readouterr().err) == warned


def test_earlier_spellings_of_options_are_accepted(capsys) -> None:
    words = ["--workers-per-trial", "2", "--max-concurrent=3"]
    values = read_request(COMMAND, words).values
    assert values == {"processes_per_trial": "2", "workers": "3"}
    assert capsys.readouterr().err.count("the old name works for one version") == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workers": "2"}, "workers: '2' has the wrong type"),
        ({"how": None}, "how: 'None' has the wrong type"),
        ({"trials": []}, "trials: there are none"),
        ({"name": "../../x"}, "trials[0]: name: '../../x' is not the name of a trial"),
        ({"architecture": {"stages": 3}}, "trials[0]: "),
    ],
)
def test_a_damaged_record_is_reported_in_one_line(tmp_path, capsys, change, words) -> None:
    settings = settings_of_0_1()
    (trial,) = settings["trials"]
    settings["trials"] = [{**trial, **change} if {*change} <= {*trial} else trial]
    settings |= {name: value for name, value in change.items() if name in settings}
    (tmp_path / "run.json").write_text(json.dumps({"settings": settings}))
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "run.json is damaged (" in told
    assert words in told
    assert told.count("\n") == 1


@pytest.fixture(params=["folder", "url"])
def store(request, tmp_path, monkeypatch) -> Store:
    """Return a place of results as a folder and as a URL, which cannot be locked atomically."""
    monkeypatch.setattr(lease, "FAR", 0.05)
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
    monkeypatch.setattr(lease, "FAR", 0.05)
    store = Store(f"file://{tmp_path}")
    written = store.write

    def together(name, content) -> None:
        written(name, content)
        written(name, {**content, "id": "other"})  # it had also checked before

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
    assert "process 7 on elsewhere has taken over" in capsys.readouterr().err


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
