"""A baseline inside pretrained weights: one step, and its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.cost import cost
from tests.commands import ROOT, baseline
from tests.nas.parents import toys
from train.data import load

WHOLE = cost(toys.PARENT).flops
TARGETS = f"{int(0.6 * WHOLE)},{int(0.4 * WHOLE)}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("baseline")
    data = load(toys.image_folder(place / "images"), minival=0.2)
    toys.trained_parent(place / "parent.safetensors", data)
    return place


def words(place: Path, *more: str) -> list[str]:
    settings = ("epochs=2", "warmup_epochs=0", "batch=16", "minival=0.2")
    return [
        *("--parent", str(place / "parent.safetensors")),
        *("--data", f"imagefolder:{place / 'images'}"),
        *(word for setting in settings for word in ("--set", setting)),
        *("--finalists", "1", "--seeds", "2", "--budget", "3", "--device", "cpu", "--workers", "2"),
        *more,
    ]


@pytest.mark.slow
def test_one_step_and_a_page(place: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(place / "cache"),
    }
    command = [sys.executable, "-m", "scaling.baseline", *words(place, "--targets", TARGETS)]
    command += ["--out", str(place / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    record = json.loads((place / "out" / "baseline.json").read_text())
    assert record["status"] == "finished"
    assert [*record["costs"]] == ["search"]
    page = (place / "out" / "report.html").read_text()
    for text in ("uniform shrinking", "of parent", "train.export", "data-chart"):
        assert text in page
    compared = ("against uniform shrinking", "the network found is uniform", "is the best network")
    assert any(text in page for text in compared)
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith("data:") for link in links)
    assert str(place) not in page.replace(str(place / "parent.safetensors"), "")
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert again.returncode == 0
    assert "==" not in again.stderr  # nothing remains to be done


def test_a_dry_run_names_the_targets(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline(words(place, "--targets", TARGETS, "--dry-run")) == 0
    printed = capsys.readouterr().err
    assert "within 598252, 398835 FLOPs: the parent is fine-tuned, up to 3 networks" in printed


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ([], "--target-flops is missing"),
        (["--targets", "1M", "--target-flops", "1M"], "--target-flops: leave it out if --targets"),
        (["--targets", "9M"], "target: 9M is not allowed; use a value"),
        (["--target-flops", "600K", "--phi", "0..1"], "--phi: a baseline with --parent does not"),
        (["--target-flops", "600K", "--skip", "grid"], "--skip: a baseline with --parent does not"),
        (["--target-flops", "600K", "--set", "epochs=x"], "epochs="),
    ],
)
def test_mistakes_are_one_line(
    place: Path,
    more: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert baseline([*words(place), *more]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert complaint in printed[0]
    assert not (tmp_path / "runs").exists()


def test_targets_need_a_parent(capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline(["--data", "cifar10", "--targets", "5M,4M"]) == 2
    assert "--targets: needs --parent" in capsys.readouterr().err
