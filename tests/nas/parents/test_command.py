"""The command `python -m nas.search --parent`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from tests.commands import report
from tests.commands import search as run
from tests.nas.parents import toys
from train.checkpoint import read_weights
from train.data import load

ROOT = Path(__file__).resolve().parents[3]
SHORT = [
    *("--set", "epochs=2", "--set", "warmup_epochs=0", "--set", "batch=16", "--set", "minival=0.2"),
    *("--finalists", "1", "--repeats", "2", "--budget", "4", "--device", "cpu", "--workers", "2"),
]
WHOLE = cost(toys.PARENT).flops


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and the weights of a parent."""
    place = tmp_path_factory.mktemp("parent")
    data = load(toys.image_folder(place / "images"), minival=0.2)
    toys.trained_parent(place / "parent.safetensors", data)
    return place


def words(place: Path, *more: str) -> list[str]:
    return [
        *("--parent", str(place / "parent.safetensors")),
        *("--data", f"imagefolder:{place / 'images'}"),
        *SHORT,
        *more,
    ]


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(place / "cache"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "nas.search", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=place,
    )


def command(place: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(place, *arguments)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.mark.slow
def test_one_search_ends_with_trained_networks_for_many_budgets(place: Path) -> None:
    half, quarter = int(WHOLE * 0.6), int(WHOLE * 0.3)
    targets = ["--targets", f"{quarter},{half}"]
    code, out, err = command(place, *words(place, *targets, "--out", "first"))
    assert code == 0, err
    assert "is fine-tuned on the images first" in err
    record = json.loads((place / "first" / "search.json").read_text())
    assert record["status"] == "finished"
    found = record["outcome"]["targets"]
    assert len(found) == 2
    for rows, target in zip(found.values(), (half, quarter), strict=True):
        assert {row["kind"] for row in rows} >= {"found"}
        assert all(row["flops"] <= target for row in rows)
        assert rows[0]["seeds"] == 2
        assert rows[0]["test_top1"]
        assert (place / "first" / rows[0]["weights"]).is_file()
    best = json.loads((place / "first" / "best.json").read_text())
    assert cost(Architecture.from_dict(best["architecture"])).flops <= half
    for name in ("networks.csv", "networks.png", *(f"target-{text}" for text in found)):
        assert (place / "first" / name).exists()
    assert "parent" in out
    # a trained network is used as every other
    weights = next((place / "first").glob("target-*/best.safetensors"))
    best = json.loads(weights.with_name("best.json").read_text())
    assert Architecture.from_dict(best["architecture"]) == read_weights(weights).architecture
    export = [sys.executable, "-m", "train.export", str(weights), "--to", "onnx", "--out", "n.onnx"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(export, cwd=place, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    # another call does not repeat the teacher and known scores
    code, _, err = command(place, *words(place, "--target-flops", str(half), "--out", "second"))
    assert code == 0, err
    assert "teacher: trained before" in err


@pytest.mark.slow
def test_a_killed_search_resumes(place: Path) -> None:
    target = ["--target-flops", str(int(WHOLE * 0.5)), "--seed", "3"]
    process = start(place, *words(place, *target, "--out", "killed"))
    deadline = time.monotonic() + 300
    finalists = place / "killed"
    while not list(finalists.glob("target-*/finalists/*-0/last.safetensors")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, _, err = command(place, "--resume", "--out", "killed")
    assert code == 0, err
    record = json.loads((place / "killed" / "search.json").read_text())
    assert record["status"] == "finished"


@pytest.mark.slow
def test_a_search_that_was_killed_before_its_first_score_resumes(place: Path) -> None:
    target = ["--target-flops", str(int(WHOLE * 0.4)), "--seed", "5"]
    process = start(place, *words(place, *target, "--out", "early"))
    while not list((place / "early").glob("target-*/search.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (searched,) = (place / "early").glob("target-*")
    for file in searched.glob("study.db*"):  # a kill may come before they are written
        file.unlink()
    code, _, err = command(place, "--resume", "--out", "early")
    assert code == 0, err


@pytest.mark.slow
def test_a_parent_whose_training_diverges_would_diverge_again(place: Path) -> None:
    more = ["--set", "lr=1e3", "--set", "schedule=constant", "--cache", "off", "--out", "diverged"]
    code, _, err = command(place, *words(place, "--target-flops", str(int(WHOLE * 0.5)), *more))
    assert code == 1
    last = err.splitlines()[-1]
    assert "teacher: the training failed" in last
    assert "start the search again with other values of --set" in last
    assert "continues" not in last
    # the page says that there is nothing to show
    assert report([str(place / "diverged"), "--out", str(place / "diverged.html")]) == 0


@pytest.mark.slow
def test_a_larger_budget_fine_tunes_its_finalists_and_keeps_the_earlier_ones(place: Path) -> None:
    target = ["--target-flops", str(int(WHOLE * 0.6)), "--seed", "4", "--strategy", "random"]
    code, _, err = command(place, *words(place, *target, "--out", "grown"))
    assert code == 0, err
    record = place / "grown" / "search.json"

    def found() -> dict[str, list[str]]:
        (rows,) = json.loads(record.read_text())["outcome"]["targets"].values()
        return {row["key"]: row["test_top1"] for row in rows if row["kind"] == "found"}

    first = found()
    more = ["--resume", "--out", "grown", "--budget", "12"]
    code, _, err = command(place, *more)
    assert code == 0, err
    assert first.items() <= found().items()
    (searched,) = (place / "grown").glob("target-*")
    history = pd.read_parquet(searched / "history.parquet")
    best = history.loc[history["reward"].idxmax(), "key"]
    assert best in found()


@pytest.mark.slow
def test_a_second_driver_of_a_finished_search_trains_nothing(place: Path) -> None:
    target = ["--target-flops", str(int(WHOLE * 0.3)), "--storage", "sqlite:///shared.db"]
    outs = []
    for name in ("one", "two"):
        code, _, err = command(place, *words(place, *target, "--out", name))
        assert code == 0, err
        (rows,) = json.loads((place / name / "search.json").read_text())["outcome"][
            "targets"
        ].values()
        assert all((place / name / row["weights"]).is_file() for row in rows)
        outs.append([(row["key"], row["test_top1"]) for row in rows])
    assert outs[0] == outs[1]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--target-flops", str(int(WHOLE * 0.6))], ""),
        (["--max-params", "9K"], ""),
        (["--target-flops", "900M"], "target: 900M is not allowed; use a value"),
        (["--target-flops", "1K"], "flops: a limit of 1,000 is below the range of space 'parent'"),
        (["--targets", "5M,x"], "--targets: 'x' is not a size"),
        (["--targets", "5M,5.0001M"], "--targets: '5M,5.0001M' has targets that are nearly equal"),
        (["--targets", "5M", "--target-flops", "4M"], "--target-flops: leave it out if --targets"),
        (["--target-flops", "5M", "--evaluator", "proxy"], "--evaluator: leave it out; --parent"),
        (["--target-flops", "5M", "--space", "compact"], "--space: a search with --parent does no"),
        (["--target-flops", "5M", "--classes", "7"], "classes: 7 is not allowed; the data have 3"),
        (["--target-flops", "5M", "--resolution", "2"], "resolution: 2 px is not allowed; the pa"),
        (["--target-flops", "5M", "--set", "batch=200"], "batch: 200 images are more than the 96"),
        (["--target-flops", "5M", "--set", "stem=frozen"], "stem: frozen is not allowed for a net"),
        (["--target-flops", "5M", "--set", "teacher=no"], "teacher: no does not exist"),
        (["--target-flops", "5M", "--device", "tpu"], "device: 'tpu' is unknown"),
        (["--target-flops", "5M", "--on", "zcu102"], "--on: a search with --parent measures this"),
        (["--target-flops", "5M", "--storage", "no"], "--storage: the value is not a database URL"),
        (
            ["--target-flops", "500K", "--storage", "sqlite:////nowhere/s.db"],
            "storage: sqlite:////nowhere/s.db: the folder /nowhere",
        ),
        (
            ["--target-flops", "5M", "--storage", "sqlite:///s.db", "--cache", "off"],
            "--cache: off is not allowed with --parent and --storage",
        ),
        (["--target-flops", "5M", "--score", "luck"], "--score: 'luck' is unknown"),
        ([], "--target-flops is missing"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_trained(
    place: Path,
    more: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.parents.run.fine_tune", never)
    monkeypatch.chdir(tmp_path)
    code = run([*words(place), *more, "--out", "out"])
    printed = capsys.readouterr().err
    if not complaint:
        assert code == 130  # no error: the search started
        return
    assert code == 2
    assert printed.splitlines()[-1].startswith(f"nas.search: {complaint}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nowhere.safetensors", "does not exist"),
        ("https://host/weights.safetensors", "URLs are not supported; download the file"),
        ("package:efficientnet_lite9", "package: 'efficientnet_lite9' is unknown; did you mean"),
        ("weights.pth", "is a pickle, which may run any program"),
        ("", "the name is empty"),
    ],
)
def test_what_is_no_parent_is_one_line(
    place: Path,
    source: str,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    images = f"imagefolder:{place / 'images'}"
    assert run(["--parent", source, "--data", images, "--target-flops", "5M"]) == 2
    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_options_of_parents_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--target-flops", "5M", "--score", "ridge"]) == 2
    assert "--score: needs --parent" in capsys.readouterr().err
    assert run(["--targets", "5M,4M"]) == 2
    assert "--targets: needs --parent" in capsys.readouterr().err
    assert run(["--target-flops", "5M", "--evaluator", "inherited"]) == 2
    assert "--evaluator: inherited needs a parent" in capsys.readouterr().err
