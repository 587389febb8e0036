"""Arms of experiments run without Ray."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from experiments.lib import arms
from vbs.failures import Failure


def noted(folder: Path, task: tuple[str, int]) -> None:
    """Write the number of the process that runs a task."""
    if task[0] == "broken":
        raise ValueError("no such network")
    (folder / f"{task[0]}-{task[1]}").write_text(str(os.getpid()))


@pytest.mark.slow
def test_arms_run_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "_has_ray", lambda: False)
    tasks = [("a", 0), ("a", 1), ("b", 0)]
    ended = list(arms.side_by_side(functools.partial(noted, tmp_path), tasks, 2))
    assert sorted(ended) == tasks
    processes = {int(path.read_text()) for path in tmp_path.iterdir()}
    assert len(processes) <= 2
    assert os.getpid() not in processes


@pytest.mark.slow
def test_an_arm_that_fails_ends_the_others_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "_has_ray", lambda: False)
    with pytest.raises(Failure, match=r"arm broken of seed 0 failed: .*no such network"):
        list(arms.side_by_side(functools.partial(noted, tmp_path), [("broken", 0)], 1))
