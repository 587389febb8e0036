"""The example files of docs/extend.md run as described in their docstrings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT, images, search, train_run

EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "extend.md").read_text()


def run_example(name: str, folder: Path, *words: str) -> str:
    """Run an example program in a folder; return its standard output."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def best(folder: Path) -> dict:
    return json.loads((folder / "best.json").read_text())


def test_the_page_links_every_example() -> None:
    linked = set(re.findall(r"\]\(examples/(\w+\.py)\)", PAGE))
    assert linked == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.slow
def test_space_and_evaluator(tmp_path: Path) -> None:
    words = ["--space", f"{EXAMPLES}/my_space.py:two_stages"]
    words += ["--evaluator", f"{EXAMPLES}/my_evaluator.py:Capacity"]
    out = tmp_path / "found"
    assert search([*words, "--target-flops", "20M", "--budget", "50", "--out", str(out)]) == 0
    assert best(out)["flops"] <= 20e6
    assert set(best(out)["choices"]) == {"kernel", "expand", "layers_1", "layers_2", "channels"}


@pytest.mark.slow
def test_strategy_and_reward(tmp_path: Path) -> None:
    words = ["--strategy", f"{EXAMPLES}/my_strategy.py:Greedy"]
    words += ["--reward", f"{EXAMPLES}/my_reward.py:frugal", "--budget", "2000"]
    out = tmp_path / "found"
    assert search(["--target-flops", "400M", *words, "--out", str(out)]) == 0
    greedy = best(out)["reward"]
    words[1] = "random"
    out = tmp_path / "random"
    assert search(["--target-flops", "400M", *words, "--out", str(out)]) == 0
    assert greedy > best(out)["reward"]


def test_device(tmp_path: Path) -> None:
    assert "ms predicted" in run_example("my_device.py", tmp_path)
    words = ["--on", str(tmp_path / "my-phone.json"), "--budget", "2000"]
    out = tmp_path / "found"
    assert search(["--target-latency", "12ms", *words, "--out", str(out)]) == 0
    assert best(out)["latency@my-phone"] <= 12e-3


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_types_agree_with_those_of_the_packages(checker: str) -> None:
    pytest.importorskip(checker)
    done = subprocess.run(
        [sys.executable, "-m", checker, *map(str, sorted(EXAMPLES.glob("*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_evaluator_with_a_curve(tmp_path: Path) -> None:
    words = ["--space", f"{EXAMPLES}/my_space.py:two_stages", "--workers", "2"]
    words += ["--evaluator", f"{EXAMPLES}/my_evaluator.py:Trained"]
    out = tmp_path / "found"
    assert search([*words, "--target-flops", "20M", "--budget", "20", "--out", str(out)]) == 0
    assert (out / "study.db").exists()


@pytest.mark.slow
def test_recipe(tmp_path: Path) -> None:
    words = ["mobilenet_v2", "--width", "0.1", "--data", images(tmp_path / "photos")]
    words += ["--recipe", f"{EXAMPLES}/my_recipe.py:gentle", "--set", "epochs=2"]
    assert train_run([*words, "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["training"]["recipe"]["name"] == "gentle"


@pytest.mark.slow
def test_logger(tmp_path: Path) -> None:
    words = ["mobilenet_v2", "--width", "0.1", "--data", images(tmp_path / "photos")]
    words += ["--log", f"{EXAMPLES}/my_logger.py:JsonLines", "csv", "--set", "epochs=2"]
    words += ["--set", "batch=16"]
    assert train_run([*words, "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows[:-1]] == [1, 2]
    assert "scores" in rows[-1]
