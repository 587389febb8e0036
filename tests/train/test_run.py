"""The command `python -m train.run`: results, mistakes, interruptions."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from tests.commands import export, predict
from tests.commands import train_run as run
from tests.train import toys
from train import TrainConfig, run_training
from train.checkpoint import read_weights
from train.run.training import Interrupts
from vbs.load import Load

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--set", "epochs=2", "--set", "batch=8", "--device", "cpu", "--loaders", "0"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an image folder of 3 classes, 16 train and 6 test images each, one of them grey."""
    place = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 6)):
        for label, name in enumerate(toys.CLASSES):
            (place / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(100, size=(16, 16, 3), dtype=np.uint8)
                pixels[..., label] += 100
                image = Image.fromarray(pixels)
                image = image.convert("L") if index == 0 else image
                image.save(place / part / name / f"{index}.png")
    return place


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "net.json"
    path.write_text(toys.NETWORK.to_json())
    return path


def arguments(network: Path, images: Path, out: Path, *more: str) -> list[str]:
    return [str(network), "--data", f"imagefolder:{images}", "--out", str(out), *QUICK, *more]


def test_other_images_are_refused_before_anything_is_written(network, images, tmp_path, capsys):
    out, other = tmp_path / "run", tmp_path / "other"
    assert run(arguments(network, images, out)) == 0
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    before = (out / "run.json").read_text()
    shutil.copytree(images, other)
    (other / "train" / "red" / "0.png").unlink()
    assert run(["--resume", "--out", str(out), "--data", f"imagefolder:{other}"]) == 2
    assert "is not the run's data" in capsys.readouterr().err
    assert (out / "run.json").read_text() == before


def test_waiting_threads_are_reported_after_the_first_epoch(
    network, images, tmp_path, capsys, monkeypatch
) -> None:
    load = Load(seconds=10.0, waited=9.0, others=1.0, stolen=0.0, throttled=0, cpus=2)
    monkeypatch.setattr("vbs.load.LoadWatch.load", lambda watch: load)
    assert run(arguments(network, images, tmp_path / "run")) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith("epoch 1/2"))
    assert "0.9 of the training's threads waited for a processor" in lines[first + 1]
    assert "set OMP_NUM_THREADS to the number of free processors" in lines[first + 1]
    assert printed.err.count("waited for a processor") + printed.out.count("waited") == 1


def test_a_students_folder_is_not_resumed_as_a_run(network, images, tmp_path, capsys) -> None:
    assert run(arguments(network, images, tmp_path / "run")) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["training"]["noisy_student"] = {"round": 1}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert run(["--resume", "--out", str(tmp_path / "run")]) == 2
    assert "train.noisy_student --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_an_unreadable_test_image_is_named_and_costs_nothing_else(
    network, tmp_path, monkeypatch
) -> None:
    rng = np.random.default_rng(1)
    for part, count in (("train", 12), ("test", 60)):
        for name in toys.CLASSES:
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for index in range(count):
                size = (16, 16 + index % 2, 3)  # of two sizes, so that they are streamed
                pixels = rng.integers(255, size=size, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / part / name / f"{index}.png")
    broken = tmp_path / "data" / "test" / "blue" / "7.png"
    broken.write_bytes(broken.read_bytes()[:300])
    out = tmp_path / "run"
    with pytest.warns(UserWarning, match=r"7\.png"):
        assert run(arguments(network, tmp_path / "data", out)) == 0
    assert any("7.png" in name for name in _outcome(out)["skipped"])
    assert (out / "mistakes.png").exists()
    table = parquet.read_table(out / "test_predictions.parquet")
    assert len(table) == 179
    assert str(broken) not in table["image"].to_pylist()
    titles = []
    monkeypatch.setattr("train.pictures.mistakes", lambda *given: titles.extend(given[2]))
    assert run(["--resume", "--out", str(out)]) == 0
    assert titles
    for title in titles:
        assert re.fullmatch(r"true \w+, predicted \w+ \d+%, \d+\.png", title)
    assert parquet.read_table(out / "test_predictions.parquet").equals(table)


def _outcome(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())["outcome"]


def test_a_run_leaves_everything_a_user_needs(network, images, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert run(arguments(network, images, out, "--set", "minival=0.25")) == 0
    told = capsys.readouterr()
    files = {path.name for path in out.iterdir()}
    assert files >= {
        "run.json",
        "best.safetensors",
        "last.safetensors",
        "curves.csv",
        "curves.png",
        "confusion.png",
        "mistakes.png",
        "tensorboard",
        "test_predictions.parquet",
    }
    record = json.loads((out / "run.json").read_text())
    table = parquet.read_table(out / "test_predictions.parquet")
    assert table["image"].to_pylist() == [
        str(images / "test" / name / f"{index}.png")
        for name in sorted(toys.CLASSES)
        for index in range(6)
    ]
    assert table["label"].to_pylist() == [n for n in sorted(toys.CLASSES) for _ in range(6)]
    hits = np.array(table["label"]) == np.array(table["prediction"])
    assert 100 * hits.mean() == pytest.approx(record["outcome"]["test"]["top1"])
    assert all(1 / 3 <= value <= 1 for value in table["probability"].to_pylist())
    assert record["status"] == "finished"
    assert record["training"]["recipe"]["epochs"] == 2
    assert record["training"]["recipe"]["resolution"] == 16
    assert record["outcome"]["test"]["top1"] >= 0
    images = record["outcome"]["images"]
    assert (images["minival"], images["test"]) == (12, 18)
    assert len(re.findall(r"\d% ± \d", told.out)) == 2  # the errors of so few images
    assert record["versions"]["torch"]
    rows = list(csv.DictReader((out / "curves.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert read_weights(out / "best.safetensors").classes == tuple(sorted(toys.CLASSES))
    commands = ("-m train.export", "--to onnx", f"-m train.predict {out} IMAGES")
    for word in ("minival", "test", f"results: {out}/", *commands):
        assert word in told.out
    for word in ("network", "36 training images", "12 held-out", "18 test", "epoch 2/2"):
        assert word in told.err


@pytest.mark.slow
def test_the_next_step_exists(network, images, tmp_path) -> None:
    assert run(arguments(network, images, tmp_path / "run")) == 0
    assert export([str(tmp_path / "run"), "--to", "safetensors"]) == 0
    assert predict([str(tmp_path / "run"), str(images / "test"), "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "NETWORK is missing"),
        (["NET"], "DATA is missing"),
        (["efficientnet_b9", "--data", "DATA"], "did you mean efficientnet_b"),
        (["missing.json", "--data", "DATA"], "missing.json does not exist"),
        (["NET", "--data", "cifar11"], "cifar11"),
        (["NET", "--data", "imagefolder:/nowhere"], "/nowhere"),
        (["NET", "--data", "DATA", "--recipe", "proxie"], "did you mean proxy"),
        (["NET", "--data", "DATA", "--set", "epoch=3"], "no field 'epoch'; did you mean epochs"),
        (["NET", "--data", "DATA", "--set", "lr=fast"], "lr is a number"),
        (["NET", "--data", "DATA", "--epochs", "1"], "field of the recipe: use --set epochs=1"),
        (["NET", "--data", "DATA", "--set-lr=0.1"], "--set-lr is unknown; it is a field of"),
        (["NET", "--data", "DATA", "--epoch", "3"], "did you mean --set epochs=3"),
        (["NET", "--data", "DATA", "--batch-size", "3"], "did you mean --set batch=3"),
        (["NET", "--data", "DATA", "--weight-decay"], "use --set weight_decay=VALUE"),
        (["NET", "--data", "DATA", "--variant", "googel", "--recipe", "efficientnetv2"], "google"),
        (
            ["NET", "--data", "DATA", "--set", "batch=8", "--init", "nowhere"],
            "nowhere does not exist",
        ),
        (["NET", "--data", "DATA", "--device", "tpu"], "device: 'tpu'"),
        (["NET", "--data", "DATA", "--loaders", "-1"], "--loaders: -1"),
        (["NET", "--data", "DATA", "--width", "0.0001x"], "--width"),
        (["NET", "--data", "DATA", "--resolution", "0"], "resolution: 0"),
        (["NET", "--data", "DATA", "--set", "batch=8", "--out", ""], "out"),
        (["NET", "--data", "DATA", "--nonsense"], "--nonsense"),
        (["NET", "--data", "DATA", "--set", "batch=500"], "batch: 500 images are more than the 42"),
        (["NET", "--data", "DATA", "--width", "0"], "width: 0.0"),
        (["NET", "--data", "DATA", "--variant", "google"], "recipe proxy has no variants"),
        (["NET", "--data", "DATA", "--recipe", "linear-probe"], "--init is missing"),
        (["--resume"], "resume: the folder of the run is missing"),
        (["--resume", "--out", "OUT"], "holds no training run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words, complaint, network, images, tmp_path, capsys):
    places = {"NET": str(network), "DATA": f"imagefolder:{images}", "OUT": str(tmp_path)}
    own = [] if "--out" in words or "DATA" not in words else ["--out", str(tmp_path / "new")]
    assert run([places.get(word, word) for word in words] + own) == 2
    told = capsys.readouterr()
    assert complaint in told.err
    assert told.err.startswith("train.run: ")
    assert told.err.count("\n") == 1
    assert not (tmp_path / "new" / "run.json").exists()


def test_a_failed_run_says_why_and_exits_1(network, images, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    wild = ["--set", "lr=1000", "--set", "warmup_epochs=0", "--set", "epochs=20"]
    assert run(arguments(network, images, out, *wild)) == 1
    told = capsys.readouterr()
    assert "train.run: the loss is" in told.err
    assert f"--out {out}-2 --set ..." in told.out
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["outcome"]["failed"].startswith("the loss is")


def test_a_folder_with_results_is_not_overwritten(network, images, tmp_path, capsys) -> None:
    (tmp_path / "best.safetensors").write_text("precious")
    assert run(arguments(network, images, tmp_path)) == 2
    assert "already holds best.safetensors" in capsys.readouterr().err
    assert (tmp_path / "best.safetensors").read_text() == "precious"


@pytest.mark.slow
def test_an_interrupted_run_is_resumed(network, images, tmp_path) -> None:
    out = tmp_path / "run"
    words = arguments(network, images, out, "--set", "epochs=4000", "--set", "warmup_epochs=1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "train.run", *words],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "curves.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"-m train.run --resume --out {out}" in told
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "interrupted"
    # the same run, but shorter, so that the test ends
    record["training"]["recipe"]["epochs"] = 2
    (out / "run.json").write_text(json.dumps(record))
    assert run(["--resume", "--out", str(out)]) == 2, "another recipe must be refused"


def test_an_interruption_before_the_first_checkpoint_names_the_command(
    network, images, tmp_path, capsys, monkeypatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("train.data.load", interrupted)
        assert run(arguments(network, images, out)) == 130
        assert capsys.readouterr().err == "train.run: interrupted\n"
    with monkeypatch.context() as patch:
        patch.setattr("train.run.training.train", interrupted)
        assert run(arguments(network, images, out)) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("train.run: interrupted; resume by: ")
    assert last.endswith(f" -m train.run --resume --out {out}")
    assert run(["--resume", "--out", str(out)]) == 0


def test_the_first_ctrl_c_waits_for_the_step_and_the_second_does_not(capfd) -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.came()
        deadline, printed = time.monotonic() + 20, ""
        while not printed.endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.01)
            printed += capfd.readouterr().err
        assert printed.startswith("stopping after the current step; press Ctrl-C again to stop now")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_resuming_repeats_nothing(network, images, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert run(arguments(network, images, out)) == 0
    before = json.loads((out / "run.json").read_text())
    shown = capsys.readouterr().out
    assert run(["--resume", "--out", str(out)]) == 0
    rows = [line for line in shown.splitlines() if line.startswith(("minival", "test"))]
    assert rows
    again = capsys.readouterr().out
    assert all(row in again for row in rows)
    after = json.loads((out / "run.json").read_text())
    for record in (before, after):
        record["outcome"].pop("waited_seconds")
    assert after == before
    record = json.loads((out / "run.json").read_text())
    record["status"] = "running"  # as if killed while the pictures were drawn
    (out / "run.json").write_text(json.dumps(record))
    assert run(["--resume", "--out", str(out), "--set", "epochs=3"]) == 2
    assert '--set: ["epochs=3"] differs from the run' in capsys.readouterr().err
    assert run(["--resume", "--out", str(out), "--data", f"imagefolder:{images}"]) == 0
    assert json.loads((out / "run.json").read_text())["outcome"]["steps"] == 10


def test_another_size_is_given_by_name(images, tmp_path) -> None:
    out = tmp_path / "run"
    words = ["efficientnet_b0", "--data", f"imagefolder:{images}"]
    sizes = ["--width", "0.1", "--depth", "0.3", "--resolution", "32", "--small-images"]
    assert run([*words, "--out", str(out), *QUICK, "--set", "epochs=1", *sizes]) == 0
    architecture = read_weights(out / "best.safetensors").architecture
    assert architecture.resolution == 32
    assert architecture.stages[-1].channels == 32
    assert sum(stage.stride == 2 for stage in architecture.stages) == 2


def test_an_accuracy_near_chance_is_named(network, tmp_path, capsys) -> None:
    for part, count in (("train", 8), ("test", 2)):
        for name in toys.CLASSES:  # equal images, so that one class is predicted for all
            (tmp_path / "grey" / part / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (16, 16), "grey").save(
                    tmp_path / "grey" / part / name / f"{index}.png"
                )
    words = ("--set", "epochs=1")
    assert run(arguments(network, tmp_path / "grey", tmp_path / "first", *words)) == 0
    note = "the test accuracy is near chance (33.3%); train for more epochs (--set epochs=N), or"
    assert note in " ".join(capsys.readouterr().out.split())
    more = ("--init", str(tmp_path / "first"))  # the user knows of pretrained weights
    assert run(arguments(network, tmp_path / "grey", tmp_path / "second", *words, *more)) == 0
    assert "near chance" not in capsys.readouterr().out


def test_a_network_that_has_learned_gets_no_advice(network, images, tmp_path, capsys) -> None:
    words = ("--set", "optimizer=sgd", "--set", "lr=0")
    assert run(arguments(network, images, tmp_path / "run", *words)) == 0
    assert _outcome(tmp_path / "run")["test"]["top1"] > 43.4
    assert "near chance" not in capsys.readouterr().out


@pytest.mark.slow
def test_weights_come_from_another_run(network, images, tmp_path, capsys) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(arguments(network, images, first)) == 0
    more = ("--init", str(first), "--recipe", "linear-probe", "--set", "lr=0")
    assert run(arguments(network, images, second, *more)) == 0
    assert "initial weights" in capsys.readouterr().err
    own, other = (read_weights(place / "best.safetensors").tensors for place in (first, second))
    assert all((own[name] == other[name]).all() for name in own)


def test_a_run_of_version_0_1_is_resumed(network, images, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert run(arguments(network, images, out)) == 0
    record = json.loads((out / "run.json").read_text())
    training = record.pop("training")
    data = f"imagefolder:{images}"
    record["status"], record["settings"] = (
        "interrupted",
        {
            "network": str(network),
            "data": data,
            "init": None,
            "architecture": training["architecture"],
            "recipe": training["recipe"],
            "own_colours": False,
            "own_epochs": True,
            "device": "cpu",
            "data_root": None,
            "data_settings": training["data_settings"],
            "processes": 1,
            "arguments": [str(network), "--data", data, "--set", "epochs=2", "--set", "batch=8"],
        },
    )
    (out / "run.json").write_text(json.dumps(record))
    assert run(["--resume", "--out", str(out), "--set", "epochs=3"]) == 2
    assert "--set: " in capsys.readouterr().err
    assert run(["--resume", "--out", str(out), "--loaders", "0"]) == 0
    assert json.loads((out / "run.json").read_text())["settings"]["changes"] == [
        "epochs=2",
        "batch=8",
    ]
    del record["settings"]["arguments"]
    (out / "run.json").write_text(json.dumps(record))
    assert run(["--resume", "--out", str(out)]) == 2
    assert "was written by another version of train.run" in capsys.readouterr().err


def test_a_record_repeats_its_run(network, images, tmp_path) -> None:
    assert run(arguments(network, images, tmp_path / "a", "--set", "minival=0.25")) == 0
    assert run(["--config", str(tmp_path / "a" / "run.json"), "--out", str(tmp_path / "b")]) == 0
    one, other = (read_weights(tmp_path / name / "best.safetensors").tensors for name in "ab")
    assert all((one[name] == other[name]).all() for name in one)


def test_a_training_runs_from_python_and_workers_is_now_loaders(
    network, images, tmp_path, capsys
) -> None:
    config = TrainConfig(
        network=str(network),
        data=f"imagefolder:{images}",
        changes=("epochs=1", "batch=8"),
        device="cpu",
        loaders=0,
    )
    result = run_training(config, out=tmp_path / "run")
    assert (result.status, result.exit_code, len(result.outcome.history)) == ("finished", 0, 1)
    assert result.config == config
    assert result.training.recipe.epochs == 1
    assert not capsys.readouterr().out  # only the command line writes the report
    assert run([str(network), "--data", "imagefolder:/nowhere", "--workers", "2"]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == "warning: --workers is now --loaders; the old name works for one version"
    assert "/nowhere" in error
