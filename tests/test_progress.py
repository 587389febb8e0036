"""Lines that show people how far work is."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from nas.history import History
from nas.objective import Objective
from nas.search.progress import Progress
from tests.nas.toys import Synthetic, small_space
from train.logs import Progress as TrainingProgress
from train.ray_tune.progress import Progress as Trials
from vbs import progress
from vbs.progress import Pulse, seconds_left, timing


def test_times_are_labelled() -> None:
    assert timing(90, 250) == "1:30 elapsed, 4:10 left"
    assert timing(90) == "1:30 elapsed"
    assert seconds_left(10, 2, 8) == 30
    assert math.isnan(seconds_left(10, 0, 8))


def test_a_pulse_reports_only_after_silence() -> None:
    lines: list[float] = []
    with Pulse(lambda: lines.append(time.monotonic()), every=0.2) as pulse:
        for _ in range(10):
            time.sleep(0.05)
            pulse.reported()
        assert not lines
        time.sleep(0.5)
    assert 1 <= len(lines) <= 3


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pulse.__init__, "__kwdefaults__", {"every": 0.1})


def test_a_training_shows_its_step_within_a_long_epoch(capsys) -> None:
    with TrainingProgress(2, 400) as shown:
        shown.step(30)
        shown.step(31)
        time.sleep(0.3)
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("epoch 1/2, step 31 of 400, ")
    assert line.endswith(" left")
    assert " elapsed, " in line


def test_a_search_shows_the_time_left_from_its_first_evaluation_on(capsys, history) -> None:
    with Progress(8) as shown:
        shown.start(history)
        time.sleep(0.15)
        extend(history, 3)
        shown.update(history)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.split(", ") == ["        0 of 8 evaluated", "0:00 elapsed"]
    assert last.startswith("        3 of 8 evaluated, 0:00 elapsed, 0:0")
    assert " left, best reward " in last


def test_the_last_line_of_a_search_says_that_no_more_is_to_come(capsys, history) -> None:
    """Failed finalists are not repeated: fewer evaluations than planned are all of them."""
    with Progress(800) as shown:
        shown.start(history)
        extend(history, 80)
        shown.update(history)
        extend(history, 10)
        shown.update(history)
    assert "       90 of 90 evaluated, " in capsys.readouterr().err.splitlines()[-1]


def test_many_trainings_show_steps_within_epochs(capsys, monkeypatch) -> None:
    trials = [{"name": "a", "network": "n", "recipe": {"epochs": 2}}]
    monkeypatch.setattr("train.ray_tune.progress.EVERY", 0.1)
    monkeypatch.setattr("train.ray_tune.steps.read", lambda steps: {"a": (10, 40)})
    with Trials(trials, steps=object()) as board:
        board.began("a")
        time.sleep(0.3)
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(" 25% 1 running, ")
    assert " elapsed, " in line
    assert line.endswith(" left")


def test_pipes_get_a_line_every_half_minute() -> None:
    assert progress.EVERY == 30


@pytest.fixture
def history() -> History:
    return History(small_space(), Objective(1e9))


def extend(history: History, count: int) -> None:
    space = history.space
    genotypes = space.sample(count, np.random.default_rng(len(history)))
    history.extend(genotypes, Synthetic().evaluate(space, genotypes), space.costs(genotypes))
