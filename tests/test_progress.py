"""Progress lines."""

from __future__ import annotations

import io
import math
import re
import time

import numpy as np
import pytest

from nas.history import History
from nas.objective import Objective
from nas.search.progress import Shown
from tests.nas.toys import Synthetic, small_space
from train.logs import Progress as TrainingProgress
from train.ray_tune.progress import Trials
from vbs import progress
from vbs.progress import Progress, Pulse, State, labelled, seconds_left, timing


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
        for step in range(1, 32):
            shown.step(step)
        time.sleep(0.3)
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("epoch 1/2, step 31 of 400, ")
    assert line.endswith(" left")
    assert " elapsed, " in line


def test_a_search_shows_the_time_left_from_its_first_evaluation_on(capsys, history) -> None:
    shown = Shown(8)
    with Progress(shown(history)) as display:
        time.sleep(0.15)
        extend(history, 3)
        display.update(shown(history))
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.split(", ") == ["0 of 8 evaluated", "0:00 elapsed"]
    assert last.startswith("3 of 8 evaluated, 0:00 elapsed, 0:0")
    assert " left, best reward " in last


def test_the_last_line_of_a_search_says_that_no_more_is_to_come(capsys, history) -> None:
    """Failed finalists are not repeated, so a search may end with fewer evaluations."""
    shown = Shown(800)
    with Progress(shown(history)) as display:
        for count in (80, 10):
            extend(history, count)
            display.update(shown(history))
        display.complete()
    last = capsys.readouterr().err.splitlines()[-1]
    assert "90 of 90 evaluated, " in last
    assert " left" not in last


def test_many_trainings_show_steps_within_epochs(capsys, monkeypatch) -> None:
    trials = [{"name": "a", "network": "n", "recipe": {"epochs": 2}}]
    monkeypatch.setattr("train.ray_tune.steps.read", lambda steps: {"a": (10, 40)})
    with Trials(trials, steps=object()) as board:
        board.began("a")
        time.sleep(0.3)
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(" 25%, 0 of 1 ended, 0:00 elapsed, 0:0")
    assert line.endswith(" left, 1 running")


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [re.sub(r", \d:.*?(elapsed|left)(, .*left)?", "", line) for line in err(capsys)]


def err(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_resumed_run_shows_what_was_done_before_and_counts_its_own_speed(capsys) -> None:
    with Progress(State(60, 80, "trained")) as shown:
        time.sleep(0.2)
        shown.update(State(70, 80, "trained", notes=("best 61.20%",)))
    first, *_, last = err(capsys)
    assert first == "60 of 80 trained before"
    assert last == "70 of 80 trained, 0:00 elapsed, 0:00 left, best 61.20%"


def test_lines_of_several_runs_begin_with_their_names(capsys, history) -> None:
    with labelled("search 2 of 4"), labelled("random, seed 0"):
        with Progress(State(0, 8, "evaluated")) as shown:
            shown.update(State(4, 8, "evaluated"))
        with TrainingProgress(2, 400) as training:
            training.epoch({"epoch": 1, "step": 200})
    with Progress(State(1, 8, "evaluated")):
        pass
    first, *_, second, third = err(capsys)
    assert first.startswith("search 2 of 4: random, seed 0: 4 of 8 evaluated, ")
    assert second.startswith("search 2 of 4: random, seed 0: epoch 1/2, ")
    assert third == "1 of 8 evaluated before"


def test_fast_updates_print_the_first_and_the_last_line(capsys) -> None:
    with Progress(State(0, 50, "evaluated")) as shown:
        for count in range(10, 51, 10):
            shown.update(State(count, 50, "evaluated"))
    counts = [int(line.split()[0]) for line in err(capsys)]
    assert {10, 50} <= {*counts}
    assert len(counts) < 5  # a slow machine also prints periodic lines


def test_updates_print_about_so_many_lines(capsys, monkeypatch) -> None:
    monkeypatch.setattr("vbs.progress.LEAST", 0.0)
    with Progress(State(0, 1000, "trained"), lines=10) as shown:
        for count in range(1, 1001):
            shown.update(State(count, 1000, "trained"))
        shown.complete()
    assert 10 <= len(err(capsys)) < 13  # a slow machine also prints periodic lines


def test_notes_get_lines_of_their_own_and_warnings_one_of_each_kind(capsys) -> None:
    with Progress(State(0, 8, "trained", share=0.0)) as shown:
        shown.update(State(1, 8, "trained", share=0.01), note="network 3: 61.20%")
        for kind in ("noise", "noise", "chance"):
            shown.warn(kind, f"it is {kind}")
    assert lines_of(capsys) == [
        "  1%, 1 of 8 trained: network 3: 61.20%",
        "warning: it is noise",
        "warning: it is chance",
    ]


def test_a_terminal_shows_a_bar_and_a_table_and_keeps_lines_above_them(monkeypatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(State(1, 4, "ended"), columns={"trial": "left", "best": "right"}) as shown:
        shown.update(State(2, 4, "ended", rows=(("b-s0", "61.20%"),)), note="trial a is over")
        time.sleep(0.6)
    text = screen.getvalue()
    assert "1 of 4 ended before" in text
    assert "2 of 4 ended, 0:00 elapsed" in text
    assert "trial a is over" in text
    assert "━" in text
    assert re.search(r"b-s0\s+61\.20%", text)


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_pipes_get_a_line_every_half_minute() -> None:
    assert progress.EVERY == 30


@pytest.fixture
def history() -> History:
    return History(small_space(), Objective(1e9))


def extend(history: History, count: int) -> None:
    space = history.space
    genotypes = space.sample(count, np.random.default_rng(len(history)))
    history.extend(genotypes, Synthetic().evaluate(space, genotypes), space.costs(genotypes))
