"""The command `python -m nas.search` with trainings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet
import pytest
from PIL import Image

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from tests.commands import search as run

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("red", "green", "blue")
SHORT = [
    "--fidelity",
    "epochs=3,share=0.8",
    "--set",
    "batch=8",
    "--set",
    "minival=0.25",
    "--workers",
    "2",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an image folder of 3 classes that differ in colour."""
    place = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (place / "train" / name).mkdir(parents=True)
        for index in range(16):
            pixels = rng.integers(100, size=(32, 32, 3), dtype=np.uint8)
            pixels[..., label] += 100
            Image.fromarray(pixels).save(place / "train" / name / f"{index}.png")
    return f"imagefolder:{place}"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "nas.search", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


@pytest.fixture(scope="module")
def finished(images: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return a finished search: its folder, its preview, and its table."""
    folder = tmp_path_factory.mktemp("search")
    out = folder / "run"
    done = command(
        "--evaluator",
        "proxy",
        "--data",
        images,
        "--target-flops",
        "2M",
        "--budget",
        "6",
        "--finalists",
        "1",
        "--repeats",
        "2",
        *SHORT,
        "--cache",
        str(folder / "cache"),
        "--out",
        str(out),
    )
    assert done.returncode == 0, done.stderr
    return out, done.stderr, done.stdout


@pytest.mark.slow
def test_it_says_beforehand_what_it_will_do(finished: tuple[Path, str, str]) -> None:
    folder, said, _ = finished
    for words in (
        "space compact: 2.69e+07 networks for 32 px images of 3 classes",
        "within flops 2M",
        "each of 6 networks: 3 epochs x",
        "by recipe proxy, scored",
        "s a training",
        "2 at once",
        f"results go to {folder}/",
        "study.db",
    ):
        assert words in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_the_results_are_those_of_any_search(finished: tuple[Path, str, str]) -> None:
    folder, _, shown = finished
    best = json.loads((folder / "best.json").read_text())
    architecture = Architecture.from_dict(best["architecture"])
    assert (architecture.classes, architecture.resolution) == (3, 32)
    assert cost(architecture).flops == best["flops"] <= 2e6
    assert best["evaluations"] == 2  # the finalist, trained again
    history = pyarrow.parquet.read_table(folder / "history.parquet")
    assert history.num_rows == 7
    assert set(history["fidelity"].to_pylist()) <= {1 / 3, 1.0}
    assert "6 networks evaluated" in shown
    assert re.search(rf"-m train.run {folder}/best.json --data imagefolder:\S+ --recipe \w+", shown)
    assert "and 1 further evaluation of the best ones" in shown
    assert not list((folder / "trainings").glob("*"))  # checkpoints of finished trainings


@pytest.mark.slow
def test_optuna_reads_the_study(finished: tuple[Path, str, str]) -> None:
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{finished[0]}/study.db")
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len(study.trials) == 7
    assert done[0].params["block0_op"] in ("mbconv", "fused")
    assert done[0].user_attrs["flops"] <= 2e6
    assert done[0].user_attrs["accuracy"] == pytest.approx(done[0].intermediate_values[3])


@pytest.mark.slow
def test_a_finished_search_goes_on_with_what_it_knows(
    finished: tuple[Path, str, str], capfd: pytest.CaptureFixture
) -> None:
    folder = finished[0]
    revised = ["reward"]  # of those stopped early: what they would have gained is known better
    before = pyarrow.parquet.read_table(folder / "history.parquet").drop_columns(revised)
    assert (
        run(["--resume", "--out", str(folder), "--budget", "7", "--fidelity", "share=.80,epochs=3"])
        == 0
    )  # unchanged except for the wording
    assert "7 networks evaluated" in capfd.readouterr().out
    after = pyarrow.parquet.read_table(folder / "history.parquet").drop_columns(revised)
    assert str(after.slice(0, 7).to_pylist()) == str(before.to_pylist())
    assert 8 <= after.num_rows <= 9  # a new network, and perhaps another finalist


PROXY = ["--evaluator", "proxy", "--target-flops", "2M"]
MISTAKES = {
    "no data": (PROXY, "--data is missing"),
    "nowhere": ([*PROXY, "--data", "imagefolder:nowhere"], "nowhere does not exist"),
    "one class": ([*PROXY, "--data", "imagefolder:ONE"], "holds 1 class folder"),
    "classes": ([*PROXY, "--data", "IMAGES", "--classes", "7"], "classes: 7 is not allowed"),
    "small share": ([*PROXY, "--data", "IMAGES", "--fidelity", "share=0.1"], "a share of 0.1"),
    "fidelity": ([*PROXY, "--data", "IMAGES", "--fidelity", "epoch=1"], "is not understood"),
    "unknown yet": ([*PROXY, "--data", "IMAGES", *SHORT[2:], "--fidelity", "auto"], "nas.fidelity"),
    "no minival": ([*PROXY, "--data", "IMAGES", "--set", "minival=0"], "needs held-out images"),
    "recipe": ([*PROXY, "--data", "IMAGES", "--recipe", "proxi"], "did you mean proxy"),
    "field": ([*PROXY, "--data", "IMAGES", "--set", "lrr=1"], "has no field 'lrr'"),
    "scheduler": ([*PROXY, "--data", "IMAGES", *SHORT, "--scheduler", "ash"], "did you mean asha"),
    "two targets": ([*PROXY, "--target-latency", "5ms"], "a search has one target"),
    "time": (["--target-latency", "20"], "'20' is not a time"),
    "workers": ([*PROXY, "--workers", "0"], "--workers: 0 is not allowed"),
    "factor": ([*PROXY, "--data", "IMAGES", *SHORT, "--factor", "1"], "factor: 1.0 is not allowed"),
    "grace": ([*PROXY, "--data", "IMAGES", *SHORT, "--grace", "-1"], "--grace: -1 is not allowed"),
    "repeats": ([*PROXY, "--repeats", "0"], "--repeats: 0 is not allowed"),
    "failures": ([*PROXY, "--data", "IMAGES", *SHORT, "--max-failures", "2"], "failures: 2.0"),
    "cluster": ([*PROXY, "--data", "IMAGES", *SHORT, "--address", "127.0.0.1:1"], "be reached"),
    "gpus": ([*PROXY, "--data", "IMAGES", *SHORT, "--gpus", "64"], "this machine has 0"),
    "database": ([*PROXY, "--data", "IMAGES", *SHORT, "--storage", "mysq://x/y"], "storage"),
    "no server": (
        [*PROXY, "--data", "IMAGES", *SHORT, "--storage", "postgresql://a:secret@127.0.0.1:1/x"],
        "storage: postgresql://a:***@127.0.0.1:1/x",
    ),
    "unwritable": ([*PROXY, "--data", "IMAGES", *SHORT, "--out", "/proc/x"], "cannot be written"),
    "idle table": ([*PROXY, "--data", "IMAGES", "--table", "x.csv"], "'proxy' reads no table"),
    "untrained": (
        ["--evaluator", "zero-cost", "--target-flops", "2M", "--finalists", "2"],
        "--finalists: evaluator 'zero-cost' trains nothing",
    ),
    "times": (["--target-latency", "20ms", "--times", "none.json"], "none.json"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_exit_2(
    mistake: str,
    images: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "ONE" / "only").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "ONE" / "only" / "1.png")
    arguments, message = MISTAKES[mistake]
    assert run([images if word == "IMAGES" else word for word in arguments]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    last = said.err.splitlines()[-1]
    assert last.startswith("nas.search: ")
    assert message in last
    assert "secret" not in said.err
    assert "Traceback" not in said.err
