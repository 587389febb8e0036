"""Nothing is lost: a search that is killed again and again is the search that never was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.nas.killed_search import NETWORKS

ROOT = Path(__file__).resolve().parents[2]


def test_a_search_killed_at_20_random_moments_has_the_same_history(tmp_path: Path) -> None:
    histories = []
    for name, kills in (("whole", 0), ("killed", 20)):
        done = subprocess.run(
            [sys.executable, "-m", "tests.nas.killed_search",
             f"sqlite:///{tmp_path / name}.db", str(kills)],
            cwd=ROOT, capture_output=True, text=True, timeout=200,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        histories.append(json.loads(done.stdout))
    whole, killed = histories
    assert len(whole["genotypes"]) == NETWORKS + 2 * 2
    assert any(error for error in whole["error"])
    assert 0 < np.count_nonzero(np.array(whole["fidelity"]) < 1) < NETWORKS
    assert whole == killed
