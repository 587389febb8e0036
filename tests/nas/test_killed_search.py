"""A search that is killed repeatedly and resumed equals an uninterrupted one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import catalog
from nas.evaluators.base import Answer
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.workers import InProcess
from nas.storage.study import open_study
from nas.storage.study_settings import SearchIdentity
from tests.nas.killed_search import NETWORKS, Fatal
from tests.nas.toys import b0_space

ROOT = Path(__file__).resolve().parents[2]


def run(storage: Path, *arguments: object) -> dict[str, Any]:
    """Return the history that tests.nas.killed_search prints."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.nas.killed_search",
            f"sqlite:///{storage}",
            *map(str, arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_three_drivers_share_a_search_and_what_a_killed_one_leaves(tmp_path: Path) -> None:
    found = run(tmp_path / "study.db", 0, 3)
    evaluated = [
        (tuple(g), seed) for g, seed in zip(found["genotypes"], found["seed"], strict=True)
    ]
    assert len(set(evaluated)) == len(evaluated)
    assert found["seed"].count(0) == NETWORKS
    assert len(evaluated) == NETWORKS + 2 * 2  # two finalists with two more seeds each


@pytest.mark.slow
def test_a_search_killed_at_20_random_moments_has_the_same_history(tmp_path: Path) -> None:
    whole, killed = run(tmp_path / "whole.db", 0), run(tmp_path / "killed.db", 20)
    assert len(whole["genotypes"]) == NETWORKS + 2 * 2
    assert any(error for error in whole["error"])
    assert 0 < np.count_nonzero(np.array(whole["fidelity"]) < 1) < NETWORKS
    assert whole == killed


def test_a_search_that_goes_on_with_a_smaller_budget_ends_what_was_lost(tmp_path: Path) -> None:
    space, objective = b0_space(), Objective(400e6)
    lost, ended = space.sample(2, np.random.default_rng(0))
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    with open_study(storage, "killed", SearchIdentity(space, objective), resume=True) as study:
        study.finish(study.claim(ended, {}), Answer(50.0))
        study.claim(lost, {})
    history = History(space, objective)
    with open_study(storage, "killed", SearchIdentity(space, objective), resume=True) as study:
        ending = search_asynchronously(
            history,
            catalog.strategy("random", space, objective),
            InProcess(Fatal(-1, 0), space),
            Plan(1, finalists=2, repeats=2, seconds=60),
            study=study,
        )
    assert ending == "finished"
    assert history.seed.tolist() == [0, 0, 1, 1]
