"""Every accuracy in a table of trainings has the error of the images on which it was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.nas.toys import small
from train.ray_tune.certainty import certainty
from train.ray_tune.progress import Trials
from train.ray_tune.report import outcome, print_table
from train.scored import with_error

IMAGES = {"minival": 72, "test": 180, "chance": 100 / 12}


def trial_row(number: int, top1: float, *, status: str = "finished") -> dict[str, Any]:
    """Return a result row of train.ray_tune for a separate network."""
    trial = {
        "name": f"{number:012x}-s0",
        "network": "net.json",
        "recipe": {"seed": 0},
        "architecture": json.loads(small().to_json()),
    }
    curve = [{"val_top1": top1, "ema_top1": None, "seconds": 1.0}]
    ended = {"status": status, "outcome": {"test": {"top1": top1}}}
    return outcome(trial, curve, ended, IMAGES)


def test_an_accuracy_is_shown_with_its_error() -> None:
    assert with_error(47.22, 72) == "47.22% ± 5.84"
    assert with_error(47.22, None) == "47.22%"  # a record of an earlier version
    assert with_error(None, 72) == with_error(float("nan"), 72) == ""
    assert with_error(0.0, 72) == "0.00% ± 0.69"


def test_the_results_of_many_trials_say_how_sure_they_are(capsys: pytest.CaptureFixture) -> None:
    rows = [trial_row(number, top1) for number, top1 in enumerate([47.2, 45.8, 44.4, 43.1])]
    assert rows[0]["minival_error"] == pytest.approx(5.84, abs=0.01)
    assert rows[0]["test_error"] == pytest.approx(3.71, abs=0.01)
    print_table("runs/x", rows, status="finished", images=IMAGES)
    shown = capsys.readouterr().out
    assert "47.20% ± 5.84" in shown
    assert "47.20% ± 3.71" in shown
    assert "the best is within noise of 3 others" in shown


def test_trials_at_chance_are_reported() -> None:
    rows = [trial_row(number, 8.3, status="stopped") for number in range(5)]
    (line,) = certainty([*rows, trial_row(9, 60.0)], IMAGES)
    assert line.startswith("warning: 5 of 6 networks are at chance (8.3%")
    assert "--set epochs=N" in line
    assert certainty(rows[:2], {}) == []  # a run of an earlier version


def test_trials_at_chance_are_reported_once_while_they_run(capsys: pytest.CaptureFixture) -> None:
    trials = [{"name": f"{n:012x}-s0", "network": "a", "recipe": {"epochs": 1}} for n in range(8)]
    with Trials(trials, images=IMAGES) as board:
        for trial in trials:
            board.row(trial["name"], {"epoch": 1, "top1": 8.3})
            board.ended(trial["name"], "finished")
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert "6 of 6 networks are at chance" in said


def test_a_clear_winner_is_called_clear() -> None:
    (line,) = certainty([trial_row(0, 90.0), trial_row(1, 40.0)], IMAGES)
    assert line.startswith("the best is clearly ahead: 50.00 ± ")
