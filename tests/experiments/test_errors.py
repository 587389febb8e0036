"""Accuracies in experiments and on the page of a baseline include the error of their images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.lib.arms import mean_and_sd, top1_with_error
from scaling.baseline.networks import FINALISTS, winner
from scaling.baseline.page import write_report
from tests.nas.toys import small


def test_one_seed_has_no_deviation() -> None:
    assert mean_and_sd([47.22]) == {"mean": 47.22, "sd": None, "seeds": 1}  # was once 0.0
    assert mean_and_sd([47.0, 49.0])["sd"] == pytest.approx(1.414)


def test_a_mean_of_seeds_has_the_error_of_its_images() -> None:
    assert top1_with_error(mean_and_sd([47.22, 47.22]), 72) == "47.2 ± 5.8%"
    assert top1_with_error(mean_and_sd([80.5, 81.5, 81.0]), 10_000) == "81.0 ± 0.5%"


@pytest.fixture
def finalists(tmp_path: Path) -> Path:
    """A folder with two finalists of two seeds, scored on 72 images."""
    networks = [json.loads(small(channels=width).to_json()) for width in (8, 16)]
    runs = tmp_path / FINALISTS
    runs.mkdir(parents=True)
    (tmp_path / "finalists" / "networks.json").write_text(json.dumps(networks))
    trials = [
        {
            "network": f"networks.json[{index}]",
            "status": "finished",
            "minival_top1": top1,
            "test_top1": top1 - 1,
            "seconds": 1.0,
        }
        for index, top1 in ((0, 47.22), (0, 47.22), (1, 45.83), (1, 45.83))
    ]
    (runs / "results.json").write_text(json.dumps({"status": "finished", "trials": trials}))
    images = {"minival": 72, "test": 180, "chance": 8.3}
    (runs / "run.json").write_text(json.dumps({"settings": {}, "plan": {"images": images}}))
    return tmp_path


def test_the_winner_says_how_sure_it_is(finalists: Path) -> None:
    best = winner(finalists)
    assert best["accuracy_std"] == pytest.approx(5.84, abs=0.01)
    assert best["test_std"] == pytest.approx(3.7, abs=0.05)
    assert best["certainty"].startswith("the best is within noise of 1 other: 1.39 ± ")
    path = finalists / FINALISTS / "run.json"
    path.write_text(json.dumps({"settings": json.loads(path.read_text())["plan"]}))  # version 0.1
    assert winner(finalists) == best
    path.unlink()  # as in an earlier version
    assert winner(finalists)["accuracy_std"] is None


def test_the_page_shows_it(finalists: Path) -> None:
    (finalists / "best.json").write_text(json.dumps(winner(finalists)))
    page = write_report(finalists, command=["python"]).read_text()
    assert "46.22% ± 3.71" in page
    assert "the best is within noise of 1 other" in page
