"""What the README shows runs, word for word."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import search_summary, training_summary
from experiments.compare_strategies import markdown

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in re.findall(r"^# -> (.*)$", block, re.MULTILINE):
        assert line in done.stdout


def test_the_two_commands_stand_there() -> None:
    assert "\nmake search\n" in README
    assert "\nmake test\n" in README
    assert "python -m nas.search --target-flops 400M" in README


def test_own_space_takes_under_twenty_lines() -> None:
    own = next(block for block in BLOCKS if "SearchSpace(" in block)
    lines = own.split("# --- the space ends here")[0].splitlines()
    assert len([line for line in lines if line.strip()]) < 20


def test_tables_are_those_of_the_results() -> None:
    results = ROOT / "experiments" / "results"
    compared = json.loads((results / "compare_strategies.json").read_text())
    assert markdown(compared["summary"]) in README
    surrogate = json.loads((results / "imagenet_surrogate.json").read_text())
    assert training_summary.markdown() in README
    assert search_summary.markdown() in README
    for family in surrogate["families"]:
        assert f"| {family['kendall_tau']:.3f} | {family['mae']:.3f} |" in README.replace("**", "")
