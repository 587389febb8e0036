"""The ImageNet surrogate: recorded quality, speed, the shipped file, and messages."""

from __future__ import annotations

import json
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from experiments.fit_imagenet_surrogate import main, read_measurements
from experiments.lib.surrogate_families import shipped
from experiments.lib.surrogate_scores import Predicted, fold_of, kendall_tau, scores
from nas.evaluators.surrogate import (
    SurrogateEvaluator,
    load_surrogate,
    read_surrogate,
    write_surrogate,
)
from search_spaces.catalog import space as space_named
from tests.speed import assert_quick
from vbs.command import run_command

SPACE = space_named("efficientnet")
RESULTS = Path(__file__).resolve().parents[2] / "experiments/results/imagenet_surrogate.json"


@pytest.fixture(scope="module")
def measurements(shared_data):
    return read_measurements(shared_data / "imagenet_measurements" / "train.parquet", SPACE)


def genotypes(count: int, seed: int = 0) -> np.ndarray:
    return SPACE.sample(count, np.random.default_rng(seed))


def test_recorded_scores_reach_the_goals():
    """tau >= 0.93, MAE <= 0.28, coverage within 5 points, extrapolation better than a ridge."""
    results = json.loads(RESULTS.read_text())
    assert len(results["cross_validation"]) >= 3
    for fold_scores in results["cross_validation"].values():
        assert fold_scores["kendall_tau"] >= 0.93
        assert fold_scores["mae"] <= 0.28
        assert fold_scores["coverage_68"] == pytest.approx(0.68, abs=0.05)
        assert fold_scores["coverage_95"] == pytest.approx(0.95, abs=0.05)
    assert results["extrapolation"]["kendall_tau"] > 0.51
    assert abs(results["extrapolation"]["bias"]) < 0.19
    assert len(results["families"]) >= 5


@pytest.mark.slow
def test_a_held_out_fold_is_predicted_as_recorded(measurements):
    """Repeats one of the five fits from the measurements and compares it with the results file."""
    held = fold_of(measurements.genotypes, 0) == 0
    predict = shipped(SPACE, measurements.genotypes[~held], measurements.accuracy[~held])
    predicted = Predicted(*predict(measurements.genotypes[held]))
    found = scores(measurements.accuracy[held], predicted)
    assert found["kendall_tau"] >= 0.93
    assert found["mae"] <= 0.28
    # 5 points, and two standard errors that 925 networks leave; all folds: the test above
    assert found["coverage_68"] == pytest.approx(0.68, abs=0.05 + 0.03)
    assert found["coverage_95"] == pytest.approx(0.95, abs=0.05)


def test_coverage_is_near_nominal_where_data_is_thin():
    """For networks with eight or more decisions unlike any trained network's, and for the best."""
    results = json.loads(RESULTS.read_text())
    slices = results["slices"]["differing decisions to nearest training network"]
    for thin in (*slices[-2:], results["extrapolation"]):
        assert thin["coverage_68"] == pytest.approx(0.68, abs=0.05)
        assert thin["coverage_95"] == pytest.approx(0.95, abs=0.05)


def test_the_shipped_file_holds_the_measured_networks(measurements):
    """It holds all measured networks once, with repeats averaged, and fits them closely."""
    surrogate = load_surrogate()
    distance, row = surrogate.measured.nearest(measurements.genotypes)
    assert (distance == 0).all()
    assert np.abs(surrogate.measured.accuracy[row] - measurements.accuracy).mean() < 0.01
    mean, _ = surrogate.predict(measurements.genotypes)
    assert kendall_tau(mean[:1500], measurements.accuracy[:1500]) > 0.93
    assert np.abs(mean - measurements.accuracy).mean() < 0.28


def test_reference_network_reads_the_short_schedule():
    """EfficientNet-B0 has about 66% under the measurements' schedule (not 77%)."""
    b0 = SPACE.encode(SPACE.references["EfficientNet-B0"])[None]
    mean, std = load_surrogate().predict(b0)
    assert mean[0] == pytest.approx(66.0, abs=0.5)
    assert 0.1 < std[0] < 0.5


def test_predictions_do_not_depend_on_the_batch():
    rows = genotypes(20_000)
    mean, std = load_surrogate().predict(rows)
    again, std_again = load_surrogate().predict(rows[9_000:9_003].astype(np.int64))
    assert mean.dtype == std.dtype == np.float64
    np.testing.assert_allclose(again, mean[9_000:9_003], rtol=1e-12)
    np.testing.assert_allclose(std_again, std[9_000:9_003], rtol=1e-12)
    assert (std > 0).all()
    assert (mean < 78).all()
    assert [len(part) for part in load_surrogate().predict(rows[:0])] == [0, 0]


def test_predictions_are_fast():
    """A loose bound for shared machines; the results file has the measured rate."""
    rows = genotypes(100_000)
    assert_quick(lambda: load_surrogate().predict(rows), 2.0)
    recorded = json.loads(RESULTS.read_text())["speed"]
    assert all(row["per_second"] >= 500_000 for row in recorded)
    assert all(row["peak_extra_mb"] < 50 for row in recorded)


def test_nearest_is_the_least_hamming_distance():
    surrogate, rows = load_surrogate(), genotypes(50)
    distance, row = surrogate.measured.nearest(rows)
    expected = (surrogate.measured.genotypes[None] != rows[:, None]).sum(2)
    np.testing.assert_array_equal(distance, expected.min(1))
    np.testing.assert_array_equal(row, expected.argmin(1))


def test_the_file_is_small_and_holds_no_pickle(tmp_path):
    file = resources.files("nas.evaluators").joinpath("imagenet_surrogate.npz")
    with resources.as_file(file) as path:
        assert path.stat().st_size < 1_000_000
        assert zipfile.ZipFile(path).testzip() is None
        surrogate = read_surrogate(path)
        write_surrogate(tmp_path / "copy.npz", surrogate)
        with (
            np.load(path, allow_pickle=False) as arrays,
            np.load(tmp_path / "copy.npz", allow_pickle=False) as copy,
        ):
            assert arrays.files == copy.files
            for name in arrays.files:  # the bytes around them depend on the version of Python
                assert arrays[name].dtype == copy[name].dtype != object
                np.testing.assert_array_equal(arrays[name], copy[name])
        write_surrogate(tmp_path / "again.npz", surrogate)
        assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "copy.npz").read_bytes()
    assert "Apache-2.0" in surrogate.source
    assert "short" in surrogate.unit


def test_json_archive_equals_the_parquet_rows(shared_data, measurements):
    samples = read_measurements(shared_data / "imagenet_measurements" / "sample_jsons", SPACE)
    assert len(samples.accuracy) == 12
    for genotype, accuracy, params in zip(*samples, strict=True):
        row = (measurements.genotypes == genotype).all(1)
        assert accuracy in measurements.accuracy[row]
        assert params == measurements.params[row][0]


def test_params_of_the_measurements_are_ours(measurements):
    """Params agree exactly, so the decisions have the meaning that the measurements give them."""
    np.testing.assert_allclose(
        SPACE.costs(measurements.genotypes).params, measurements.params, atol=0.5, rtol=0
    )


def test_evaluator_answers_for_its_space_only():
    evaluator = SurrogateEvaluator(load_surrogate("imagenet"))
    answers = evaluator.evaluate(SPACE, genotypes(100))
    mean, std = load_surrogate().predict(genotypes(100))
    np.testing.assert_array_equal(answers.accuracy, mean)
    np.testing.assert_array_equal(answers.std, std)
    assert answers.error is None
    assert (answers.seconds > 0).all()
    for other, limit in (
        (space_named("mnasnet"), "only for the space 'efficientnet', not for 'mnasnet'; use"),
        (space_named("efficientnet", resolution=32), "only at 224 px, not 32 px; use"),
    ):
        with pytest.raises(ValueError, match=limit):
            evaluator.check(other)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 5), np.int8), r"shape \(2, 5\) is not \[n, 28\]"),
        (np.zeros(28, np.int8), r"shape \(28,\)"),
        (np.zeros((1, 28)), "not an integer type"),
        (np.full((1, 28), 3, np.int8), r"option 3 of 'block0_e' is not in 0\.\.2"),
        (np.full((1, 28), -1, np.int8), "option -1 of 'block0_e'"),
    ],
)
def test_wrong_genotypes_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        load_surrogate().predict(rows)


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="'cifar' is unknown; use one of imagenet"):
        load_surrogate("cifar")


def test_measurements_that_cannot_be_read_are_one_line(tmp_path, capsys):
    code = run_command(
        "fit_imagenet_surrogate", lambda: main(["--measurements", str(tmp_path / "none.parquet")])
    )
    assert code == 2
    told = capsys.readouterr().err
    assert "does not exist" in told
    assert len(told.splitlines()) == 1
    with pytest.raises(ValueError, match=r"holds no result_\*\.json"):
        read_measurements(tmp_path, SPACE)
    architecture = SPACE.choices_of(genotypes(1)[0]) | {"block0_k": 4}
    record = {"architecture": architecture, "metrics": {"val_top1": 60.0}}
    record["model_info"] = {"params": 3.0}
    (tmp_path / "result_1.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"block0_k is 4, which is not one of \(3, 5\)"):
        read_measurements(tmp_path, SPACE)
