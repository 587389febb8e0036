"""Accuracy under the longer schedule, and the certainty of a ranking."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nas.evaluators.long_schedule import read_long_schedule, write_long_schedule
from nas.evaluators.ranking import could_be_best, probability_best, probability_better
from nas.evaluators.surrogate import load_surrogate
from search_spaces.catalog import space as space_named

SPACE = space_named("efficientnet")
RESULTS = Path(__file__).resolve().parents[2] / "experiments/results/long_schedule.json"
B0 = SPACE.encode(SPACE.references["EfficientNet-B0"])[None]


def test_recorded_scores_reach_the_goals() -> None:
    results = json.loads(RESULTS.read_text())
    for found in (results["leave_one_out"], *results["tenfold"].values()):
        assert found["mae"] <= 0.35
        assert 0.90 <= found["coverage_95"] <= 0.99
        assert found["coverage_68"] == pytest.approx(0.68, abs=0.05)
    assert 0.90 <= results["fitted_without_the_best_quarter"]["coverage_95"] <= 0.99
    for pair in results["pairs"]:
        assert pair["was"] >= pair["said"] - 0.03


def test_the_long_schedule_reads_higher_and_claims_no_350_epochs() -> None:
    """B0 has about 72.5 under the longer schedule, and 77 after 350 epochs."""
    surrogate = load_surrogate()
    short, _ = surrogate.predict(B0)
    long, std = surrogate.predict(B0, schedule="long")
    assert long[0] == pytest.approx(72.51, abs=0.05)
    assert long[0] > short[0] + 5
    assert 0.1 < std[0] < 0.6
    assert surrogate.long is not None
    assert "not its 350 epochs" in surrogate.long.unit
    best = SPACE.sample(50_000, np.random.default_rng(0))
    assert surrogate.predict(best, schedule="long")[0].max() < 76


def test_the_form_is_that_of_the_short_schedule() -> None:
    rows = SPACE.sample(20_000, np.random.default_rng(0))
    surrogate = load_surrogate()
    mean, std = surrogate.predict(rows, schedule="long")
    assert mean.dtype == std.dtype == np.float64
    assert (std > 0).all()
    again, std_again = surrogate.predict(rows[9_000:9_003].astype(np.int64), schedule="long")
    np.testing.assert_allclose(again, mean[9_000:9_003], rtol=1e-12)
    np.testing.assert_allclose(std_again, std[9_000:9_003], rtol=1e-12)
    assert [len(part) for part in surrogate.predict(rows[:0], schedule="long")] == [0, 0]
    one = surrogate.predict(SPACE.decode(B0[0]), schedule="long")
    assert one[0][0] == pytest.approx(surrogate.predict(B0, schedule="long")[0][0])


def test_the_short_schedule_is_the_default() -> None:
    rows = SPACE.sample(100, np.random.default_rng(1))
    for ours, theirs in zip(
        load_surrogate().predict(rows),
        load_surrogate().predict(rows, schedule="short"),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="schedule: 'longer' is unknown; use short or long"):
        load_surrogate().predict(B0, schedule="longer")
    without = dataclasses.replace(load_surrogate(), long=None)
    with pytest.raises(ValueError, match="has no longer schedule"):
        without.predict(B0, schedule="long")


@pytest.mark.parametrize("schedule", ["short", "long"])
def test_own_accuracy_is_known_better_than_one_training(schedule: str) -> None:
    rows = SPACE.sample(1_000, np.random.default_rng(2))
    mean, std = load_surrogate().predict(rows, schedule=schedule)
    own_mean, own = load_surrogate().predict_own(rows, schedule=schedule)
    np.testing.assert_allclose(own_mean, mean)
    assert (own < std).all()
    assert (own > 0.02).all()


def test_uncertainty_grows_beyond_the_fitted_networks() -> None:
    long = load_surrogate().long
    assert long is not None
    assert long.fitted[1] < 68
    logs = np.tile(long.center[1:], (4, 1))
    short = np.array([64.0, 67.0, 70.0, 74.0])
    (_, std), _ = long.predict(short, np.zeros(4), logs)
    assert std[1] < std[2] < std[3]
    (_, uncertain), _ = long.predict(short, np.full(4, 0.5), logs)
    assert (uncertain > std + 0.05).all()


def test_a_model_survives_its_file(tmp_path: Path) -> None:
    long = load_surrogate().long
    assert long is not None
    write_long_schedule(tmp_path / "long.json", long)
    again = read_long_schedule(tmp_path / "long.json")
    for field in dataclasses.fields(long):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(long, field.name))


def test_held_out_networks_are_predicted_as_recorded(shared_data: Path) -> None:
    from experiments.fit_long_schedule import cross_validated, read_trainings, scores

    path = shared_data / "imagenet_measurements" / "two_schedules.parquet"
    data = read_trainings(path, SPACE)
    found = scores(data, cross_validated(data, np.arange(len(data.long))))
    assert found["mae"] == pytest.approx(json.loads(RESULTS.read_text())["leave_one_out"]["mae"])


def test_probabilities_of_pairs() -> None:
    better = probability_better(np.array([1.0, 0.0, 2.0]), np.array([1.0, 1.0, 0.0]), 0.0, 0.0)
    assert better == pytest.approx([0.8413, 0.5, 1.0], abs=1e-4)
    both = probability_better(np.array([1.0]), np.array([1.0]), np.array([0.0]), np.array([1.0]))
    assert both[0] == pytest.approx(0.7602, abs=1e-4)


def test_the_set_that_could_be_best_holds_the_best_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held, sizes = [], []
    for _ in range(200):
        mean, std = rng.normal(70, 0.5, 60), np.full(60, 0.3)
        truth = mean + std * rng.normal(size=60)
        chosen = could_be_best(mean, std, rng, draws=1000)
        held.append(truth.argmax() in chosen)
        sizes.append(len(chosen))
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)
    assert 2 < np.mean(sizes) < 30


def test_networks_far_below_have_no_part() -> None:
    rng = np.random.default_rng(0)
    share = probability_best(np.array([70.0, 69.9, 60.0]), np.full(3, 0.2), rng)
    assert share.sum() == pytest.approx(1)
    assert share[0] > share[1] > share[2] == 0
    assert list(could_be_best(np.array([60.0, 70.0]), np.full(2, 0.1), rng)) == [1]
    assert len(probability_best(np.zeros(0), np.zeros(0), rng)) == 0
    with pytest.raises(ValueError, match="confidence: 1 is not allowed"):
        could_be_best(np.zeros(2), np.ones(2), rng, confidence=1)
