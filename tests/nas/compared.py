"""Test helper: a comparison of two strategies, and the words that start one."""

from __future__ import annotations

import csv
from pathlib import Path

from nas.compare import CompareConfig, run_compare
from tests.commands import ROOT

OWN = f"{ROOT}/docs/examples/my_strategy.py:Greedy"
SHARED = ["--target-flops", "400M", "--budget", "40"]


def compare_two(out: Path) -> None:
    """Compare two strategies with two seeds each, in a folder."""
    config = CompareConfig(
        strategies=("random", OWN), seeds=2, target_flops="400M", budget=40, reward="feasible"
    )
    run_compare(config, out=out)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Return the rows of comparison.csv."""
    with (folder / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))
