"""The command `python -m nas.search --evaluator supernet`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from tests.commands import search as run
from tests.nas.parents.toys import image_folder

ROOT = Path(__file__).resolve().parents[3]
SHORT = [
    *("--evaluator", "supernet", "--width", "0.25", "--target-flops", "500K"),
    *("--set", "batch=16", "--set", "minival=0.2", "--device", "cpu"),
    *("--supernet-epochs", "2", "--budget", "5", "--workers", "1"),
    *("--finalists", "2", "--repeats", "2", "--fidelity", "epochs=2"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images."""
    place = tmp_path_factory.mktemp("supernet")
    image_folder(place / "images")
    return place


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


def words(place: Path, *more: str) -> list[str]:
    return [*SHORT, "--data", f"imagefolder:{place / 'images'}", *more]


@pytest.mark.slow
def test_a_search_ends_with_a_verdict(place: Path) -> None:
    judge = ["--judge", "8"]
    code, out, err = command(place, *words(place, *judge, "--out", "first"))
    assert code == 0, err
    assert "Kendall tau with 8 networks trained stand-alone, 2 seeds each" in out
    record = json.loads((place / "first" / "search.json").read_text())
    assert record["status"] == "finished"
    assert record["outcome"]["evaluated"] == 5
    assert any("Kendall tau" in line for line in record["outcome"]["certainty"])
    best = json.loads((place / "first" / "best.json").read_text())
    assert best["evaluations"] == 2  # stand-alone, with each seed
    assert cost(Architecture.from_dict(best["architecture"])).flops <= 500_000

    # another search with the same weights and judge trains nothing
    code, out, err = command(place, *words(place, *judge, "--seed", "1", "--out", "second"))
    assert code == 0, err
    assert "supernet: trained before" in err
    assert "16 trainings of epochs=2,share=1, 16 of them cached" in err


@pytest.mark.slow
def test_a_search_killed_while_the_supernet_is_trained_resumes(place: Path) -> None:
    unchecked = ["--judge", "0", "--supernet-epochs", "25"]
    process = start(place, *words(place, *unchecked, "--out", "killed"))
    deadline = time.monotonic() + 300
    while not list((place / "cache").glob("*/supernets/*/last.safetensors")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, out, err = command(place, "--resume", "--out", "killed")
    assert code == 0, err
    assert "resumed at step" in err
    assert "has NOT been checked" in out
    record = json.loads((place / "killed" / "search.json").read_text())
    assert record["status"] == "finished"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "--data is missing; --evaluator supernet needs images"),
        (["--data", "imagefolder:IMAGES", "--judge", "3"], "--judge: 3 is not allowed"),
        (["--data", "imagefolder:IMAGES", "--cache", "off"], "--cache: off is not allowed"),
        (["--data", "imagefolder:IMAGES", "--grace", "2"], "--grace: evaluator 'supernet'"),
        (
            ["--data", "imagefolder:IMAGES", "--set", "batch=500"],
            "batch: 500 images are more than the",
        ),
        (["--data", "imagefolder:NOWHERE"], "NOWHERE"),
        (
            [
                *("--data", "imagefolder:IMAGES", "--set", "batch=16"),
                *("--space", "tests.nas.supernet.plain:plain"),
            ],
            "'plain' cannot share weights: it is not made of stages",
        ),
    ],
)
def test_bad_input_is_one_line(
    place: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [text.replace("IMAGES", str(place / "images")) for text in arguments]
    base = ["--evaluator", "supernet", "--target-flops", "1M"]
    assert run([*base, *arguments]) == 2
    out, err = capsys.readouterr()
    assert line in err.splitlines()[-1]
    assert not out


def test_its_options_go_with_it_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--target-flops", "400M", "--judge", "9"]) == 2
    assert "--judge: needs --evaluator supernet" in capsys.readouterr().err
