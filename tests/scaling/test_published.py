"""Growth predicted from published trainings: recorded quality, forecasts, and the prior."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.published import (
    best_split,
    check_range,
    factors_between,
    forecast,
    load_published,
    predicted_gain,
    range_problems,
    surface_prior,
)
from scaling.published.known import KNOWN, known_top1
from scaling.published.model import read_published, write_published
from scaling.published.optimum import flatness, split_factors
from scaling.surface import Prior, at_growth, fit, simplex
from search_spaces.catalog import zoo
from search_spaces.zoo import TOP1

RESULTS = Path(__file__).resolve().parents[2] / "experiments/results/published_scaling.json"
# real depth, width and resolution of B0 to B7 over B0, and their published top-1
B_FACTORS = [
    (1.0, 1.0, 1.0),
    (1.438, 1.0, 240 / 224),
    (1.438, 1.1, 260 / 224),
    (1.625, 1.2, 300 / 224),
    (2.0, 1.4, 380 / 224),
    (2.438, 1.6, 456 / 224),
    (2.812, 1.8, 528 / 224),
    (3.438, 2.0, 600 / 224),
]
B_TOP1 = [77.1, 79.1, 80.1, 81.6, 82.9, 83.6, 84.0, 84.3]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text())


def test_recorded_scores_reach_the_goals(results: dict[str, Any]) -> None:
    for found in (results["groups_held_out"]["both"], results["bases_held_out"]):
        assert found["mae"] <= 0.75
        assert found["pairs_share"] >= 0.85
        assert found["pairs_share_by_flops"] < 0.6
        assert found["coverage_95"] == pytest.approx(0.95, abs=0.05)
    assert results["groups_held_out"]["both"]["coverage_68"] == pytest.approx(0.68, abs=0.05)
    b_series = results["b_from_b0"]
    assert b_series["efficientnet_b0/en-aa"]["both"]["largest_error"] < 1
    assert all("efficientnet_b0/" in name or "lite" in name for name in b_series["held_out"])


def test_recorded_forecasts_of_b4_reach_the_goal(results: dict[str, Any]) -> None:
    """Forecasts from B0 to B3 for each recipe, and of Lite4 and V2-B3."""
    b4 = [
        row
        for row in results["forecasts"]
        if row["series"].startswith("efficientnet_b0/") and row["from_members"] == 4
    ]
    assert len(b4) == 5
    assert all(abs(row["error"]) < 1 for row in b4)
    others = {row["series"]: row for row in results["forecasts"]}
    assert abs(others["efficientnet_lite0/tpu-lite"]["error"]) < 1
    assert abs(others["efficientnetv2_b0/timm"]["error"]) < 1
    assert np.mean([row["inside_95"] for row in results["forecasts"]]) >= 0.85


def test_recorded_forecasts_are_summed_up_by_series(results: dict[str, Any]) -> None:
    found = {row["series"]: row for row in results["forecast_errors"]}
    assert found["all"]["forecasts"] == len(results["forecasts"])
    for name, most in (
        ("EfficientNet-B", 0.5),
        ("EfficientNet-Lite", 0.7),
        ("EfficientNetV2-B", 0.5),
        ("ResNet", 0.7),
        ("ResNet-RS", 0.4),
    ):
        assert found[name]["mae"] <= most
    assert found["all"]["mae"] <= 0.5


def test_the_form_of_a_prediction() -> None:
    points, std = predicted_gain(B_FACTORS, base_top1=77.1)
    assert points.shape == std.shape == (8,)
    assert points.dtype == std.dtype == np.float64
    assert points[0] == pytest.approx(0)
    assert (np.diff(points) > 0).all()
    assert (std > 0).all()
    shrunk, _ = predicted_gain([(0.5, 1, 1), (1, 0.5, 1), (1, 1, 0.5)], base_top1=77.1)
    assert (shrunk < -1).all()
    assert [len(part) for part in predicted_gain(np.zeros((0, 3)), base_top1=77.1)] == [0, 0]


def test_gains_of_b_networks_are_near_the_published() -> None:
    points, std = predicted_gain(B_FACTORS, base_top1=77.1)
    error = points + 77.1 - B_TOP1
    assert np.abs(error).max() < 1
    assert (np.abs(error) < 2.5 * std).all()


def test_both_is_the_mean_with_the_difference_in_its_deviation() -> None:
    one, one_std = predicted_gain(B_FACTORS, base_top1=77.1, model="squares")
    two, two_std = predicted_gain(B_FACTORS, base_top1=77.1, model="interactions")
    both, std = predicted_gain(B_FACTORS, base_top1=77.1)
    assert both == pytest.approx((one + two) / 2)
    assert std == pytest.approx(np.sqrt((one_std**2 + two_std**2) / 2 + (one - two) ** 2 / 4))


def test_uncertainty_grows_outside_the_published_trainings() -> None:
    for axis, power in enumerate((1.0, 0.5, 0.5)):
        factors = np.ones((4, 3))
        factors[:, axis] = np.array([2.0, 8.0, 64.0, 512.0]) ** power
        _, std = predicted_gain(factors, base_top1=77.1, model="squares")
        assert std[1] > std[0]
        # in latent units: near the ceiling a point is worth more of them
        reached, _ = predicted_gain(factors, base_top1=77.1, model="squares")
        top1 = 77.1 + reached
        assert (np.diff(std / (top1 * (95 - top1))) > 0).all()


@pytest.mark.parametrize(
    ("factors", "base_top1", "message"),
    [
        ([[1, 9, 1]], 77.1, r"width: 9 times the base is outside .* 1\.28 times above them"),
        ([[0.1, 1, 1]], 77.1, r"depth: 0\.1 times the base .* 2\.50 times below them"),
        ([[1, 1, 2]], 50, r"base: 50% top-1 is outside .* 16\.2 points below them"),
        ([[1, 1, 2]], 85, r"base: 85% top-1 is outside .* 4\.2 points above them"),
    ],
)
def test_what_is_outside_is_refused_with_how_far(
    factors: list[list[float]], base_top1: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        check_range(factors, base_top1=base_top1)
    assert "\n" not in str(error.value)
    predicted_gain(factors, base_top1=base_top1)  # extrapolates
    assert range_problems(B_FACTORS, base_top1=77.1) == []


@pytest.mark.parametrize(
    ("factors", "base_top1", "message"),
    [
        ([[1, 2]], 77.1, r"factors: shape \(1, 2\) is not \[n, 3\]"),
        ([[1, 0, 1]], 77.1, "factors: 0 is not allowed"),
        ([[1, float("nan"), 1]], 77.1, "factors: nan is not allowed"),
        ([[1, 1, 1]], 0.0, "base_top1: 0.0 is not allowed"),
        ([[1, 1, 1]], 96, "base_top1: 96 is not allowed"),
    ],
)
def test_bad_input_is_refused(factors: Any, base_top1: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predicted_gain(factors, base_top1=base_top1)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match="model: 'cubes' is unknown; use one of squares"):
        predicted_gain(B_FACTORS, base_top1=77.1, model="cubes")


def test_factors_between_networks_count_layers_after_rounding() -> None:
    base = zoo("efficientnet_b0")
    for name, (depth, width, side) in zip(
        ("b1", "b4", "b7"), np.array(B_FACTORS)[[1, 4, 7]], strict=True
    ):
        found = factors_between(base, zoo(f"efficientnet_{name}"))
        assert found[0] == pytest.approx(depth, abs=0.001)
        assert found[1] == pytest.approx(width, rel=0.04)
        assert found[2] == pytest.approx(side)


def test_the_optimum_is_flat() -> None:
    """At 2x the published and the equal split tie with the best; at 8x one axis alone does not."""
    two = best_split(2.0, base_top1=77.1)
    assert two.losses["published (1.2, 1.1, 1.15)"] < 0.3
    assert two.losses["equal shares"] < 0.3
    assert flatness(two)["tied"] > 0.8
    assert two.shares.sum() == pytest.approx(1)
    eight = best_split(8.0, base_top1=77.1)
    for axis in ("depth", "width", "resolution"):
        assert eight.losses[f"{axis} alone"] > 0.8
    assert (eight.intervals[:, 0] <= eight.coefficients + 1e-9).all()
    assert (eight.intervals[:, 1] >= eight.coefficients - 1e-9).all()
    assert np.prod(eight.coefficients ** [1, 2, 2]) == pytest.approx(8)
    with pytest.raises(ValueError, match="growth: 1 is not allowed"):
        best_split(1, base_top1=77.1)


def test_forecasts_learn_from_members() -> None:
    alone = forecast(B_FACTORS[:1], B_TOP1[:1], B_FACTORS[4:5])
    found = forecast(B_FACTORS[:4], B_TOP1[:4], B_FACTORS[4:5])
    assert found.std[0] < alone.std[0]
    assert found.top1[0] == pytest.approx(82.9, abs=1)
    low, high = found.interval()[0]
    assert low < 82.9 < high
    assert found.gain[0] == pytest.approx(found.top1[0] - 81.6)
    points, std = predicted_gain(B_FACTORS[4:5], base_top1=77.1)
    assert alone.top1[0] - 77.1 == pytest.approx(points[0], abs=0.02)
    assert alone.std[0] == pytest.approx(std[0], rel=0.05)


def test_a_forecast_does_not_depend_on_order_nor_on_the_network_that_factors_refer_to() -> None:
    factors, top1 = np.array(B_FACTORS), np.array(B_TOP1)
    plain = forecast(factors[:4], top1[:4], factors[4:6])
    order = [2, 0, 3, 1]
    other = forecast(factors[order] / factors[2], top1[order], factors[4:6] / factors[2])
    assert other.top1 == pytest.approx(plain.top1)
    assert other.std == pytest.approx(plain.std)


def test_forecasts_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="0 members"):
        forecast(np.zeros((0, 3)), [], B_FACTORS[4:5])
    with pytest.raises(ValueError, match="2 members and 1 accuracies"):
        forecast(B_FACTORS[:2], [77.1], B_FACTORS[4:5])


def test_the_prior_of_the_surface_is_the_regression() -> None:
    """Equal up to a constant and to the line from latent values to points."""
    prior = surface_prior(2.0, base_top1=77.1)
    places = simplex()
    gain, _ = predicted_gain(split_factors(places, 2.0), base_top1=77.1)
    surface = at_growth(places)[:, :6] @ prior.weights
    assert surface - surface.mean() == pytest.approx(gain - gain.mean(), abs=0.01)
    raised = prior.precision @ np.array([1.0, 1, 1, 0, 0, 0])
    assert np.abs(raised).max() < 1e-3 * np.abs(prior.precision).max()


PLACES = np.array(
    [
        (0.6, 0.2, 0.2),
        (0.2, 0.6, 0.2),
        (0.2, 0.2, 0.6),
        (1 / 3, 1 / 3, 1 / 3),
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
    ]
)


def trained(weights: np.ndarray, noise: float, seed: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    means = 60 + at_growth(PLACES)[:, :6] @ weights
    return (means[:, None] + noise * rng.normal(size=(len(PLACES), 2))).tolist()


def test_a_fitting_prior_narrows_what_is_known() -> None:
    prior = surface_prior(8.0, base_top1=77.1)
    with_it, without = [], []
    for seed in range(8):
        values = trained(prior.weights, 0.5, seed)
        for found, chosen in ((with_it, prior), (without, None)):
            rng = np.random.default_rng(seed)
            surface = fit(PLACES, np.zeros(7), values, rng, prior=chosen)
            found.append((np.diff(surface.intervals).mean(), surface.prior_weight))
    assert np.mean(with_it, axis=0)[0] < 0.8 * np.mean(without, axis=0)[0]
    assert np.median([weight for _, weight in with_it]) >= 0.1
    assert all(weight == 0 for _, weight in without)


def test_a_wrong_prior_is_outvoted() -> None:
    """In the data width alone is best by far, unlike in any published recipe."""
    prior = surface_prior(8.0, base_top1=77.1)
    wrong = np.array([0.0, 12.0, 4.0, 0.0, 0.0, 0.0])
    values = trained(wrong, 0.3, 0)
    surface = fit(PLACES, np.zeros(7), values, np.random.default_rng(0), prior=prior)
    assert surface.prior_weight <= 0.03
    assert surface.shares[1] > 0.85
    free = fit(PLACES, np.zeros(7), values, np.random.default_rng(0))
    assert surface.predict(PLACES) == pytest.approx(free.predict(PLACES), abs=0.5)


def test_a_weight_of_zero_ignores_the_prior() -> None:
    prior = surface_prior(2.0, base_top1=77.1, weight=0)
    values = trained(prior.weights, 0.3, 0)
    ignored = fit(PLACES, np.zeros(7), values, np.random.default_rng(0), prior=prior)
    without = fit(PLACES, np.zeros(7), values, np.random.default_rng(0))
    np.testing.assert_array_equal(ignored.weights, without.weights)
    np.testing.assert_array_equal(ignored.intervals, without.intervals)
    with pytest.raises(ValueError, match="weight: 2 is not allowed"):
        Prior(prior.weights, prior.precision, 2)
    with pytest.raises(ValueError, match="1 candidates are too few to fit; train 2 or more"):
        fit(
            PLACES[:1],
            np.zeros(1),
            values[:1],
            np.random.default_rng(0),
            prior=surface_prior(2.0, base_top1=77.1),
        )


def test_the_file_is_small_and_says_where_its_numbers_come_from(tmp_path: Path) -> None:
    published = load_published()
    assert published.trainings == sum(each["trainings"] for each in published.sources) == 367
    assert published.groups == len(published.sources)
    assert all(each["source"] for each in published.sources)
    write_published(tmp_path / "copy.json", published)
    file = resources.files("scaling.published").joinpath("published_scaling.json")
    with resources.as_file(file) as path:
        assert path.read_bytes() == (tmp_path / "copy.json").read_bytes()
        assert path.stat().st_size < 100_000
    again = read_published(tmp_path / "copy.json")
    for name, model in published.models.items():
        np.testing.assert_array_equal(again.models[name].weights, model.weights)


def test_the_shipped_models_are_the_fit(shared_data: Path) -> None:
    from experiments.fit_published_scaling import NAMES
    from experiments.lib.published_table import read_table
    from scaling.published.fit import fit_growth

    table = read_table(shared_data.parent / "reference" / "published_scaling.csv")
    for name, names in NAMES.items():
        fitted = fit_growth(table.trainings, names).model
        shipped = load_published().models[name]
        assert fitted.weights == pytest.approx(shipped.weights, abs=2e-3)


def test_the_gradient_of_the_evidence(shared_data: Path) -> None:
    """Compares it with finite differences."""
    from experiments.lib.published_table import read_table
    from scaling.published.fit import grouped, objective
    from scaling.published.model import SQUARES

    table = read_table(shared_data.parent / "reference" / "published_scaling.csv")
    groups = grouped(table.trainings, SQUARES)
    at = np.log(np.linspace(0.01, 0.1, len(SQUARES) + 1))
    _, slope = objective(at, groups)
    for index, own in enumerate(slope):
        step = np.zeros(len(at))
        step[index] = 1e-5
        change = objective(at + step, groups)[0] - objective(at - step, groups)[0]
        assert change / 2e-5 == pytest.approx(own, rel=1e-3, abs=1e-3)


def test_recorded_replays_of_the_prior() -> None:
    """A fitting prior saves trainings; a wrong one costs no more than no prior."""
    found = json.loads((RESULTS.parent / "growth_prior.json").read_text())

    def row(kind: str, arm: str, candidates: int) -> dict[str, Any]:
        return next(
            each for each in found[kind] if each["arm"] == arm and each["candidates"] == candidates
        )

    fewest, most = 4, 15
    fits = row("a new recipe", "learned weight", fewest)
    for without in (6, 9):  # more than twice the trainings
        assert fits["loss"] < row("a new recipe", "no prior", without)["loss"]
        assert fits["interval_width"] < row("a new recipe", "no prior", without)["interval_width"]
    assert fits["intervals_hold"] >= 0.93
    assert fits["median_weight"] == 1
    for candidates in (6, 9, most):
        wrong = row("wrong prior", "learned weight", candidates)
        assert wrong["loss"] < 0.15
        assert wrong["median_weight"] <= 0.1
        assert row("wrong prior", "weight 1", candidates)["loss"] > wrong["loss"]


def test_what_is_no_number_is_one_line() -> None:
    good = [[1.2, 1.1, 1.15]]
    for factors in (
        None,
        [1, 1, 1],
        [[1, -1, 1]],
        [[math.nan, 1, 1]],
        [[math.inf, 1, 1]],
        [["a", "b", "c"]],
        [[1, 2], [1]],
        [[1e300] * 3],
        [[10**400, 1, 1]],
    ):
        for call in (
            lambda x: predicted_gain(x, base_top1=77.1),
            lambda x: range_problems(x, base_top1=77.1),
            lambda x: forecast(x, [77.1], good),
            lambda x: forecast([[1, 1, 1]], [77.1], x),
        ):
            with pytest.raises(ValueError, match=r"^factors: "):
                call(factors)
    assert range_problems(np.ones((0, 3))) == []
    for top1 in (None, "77", math.nan, math.inf, True, [77], 10**400):
        for use in (
            lambda x: predicted_gain(good, base_top1=x),
            lambda x: range_problems(good, base_top1=math.nan if x is None else x),
            lambda x: forecast([[1, 1, 1]], [x], good),
        ):
            with pytest.raises(ValueError, match=r"top1: .* is not allowed"):
                use(top1)
    for several in (None, 77, "77"):
        with pytest.raises(ValueError, match=r"^top1: .* is not allowed"):
            forecast([[1, 1, 1]], several, good)  # type: ignore[arg-type]
    for growth in (1, math.nan, math.inf, None, "2", True, 1e308, 10**400):
        with pytest.raises(ValueError, match=r"^growth: .* is not allowed"):
            best_split(growth, base_top1=77.1)  # type: ignore[arg-type]
    for model in ("x", None, []):
        with pytest.raises(ValueError, match=r"^model: "):
            predicted_gain(good, base_top1=77.1, model=model)  # type: ignore[arg-type]


def test_the_top1_of_published_networks_is_known() -> None:
    assert all(KNOWN[name][0] == top1 for name, top1 in TOP1.items() if name in KNOWN)
    assert known_top1("mobilenetv4_conv_small").percent == 73.8


@pytest.mark.parametrize("base", ["{tmp}/best.safetensors", "package:efficientnet_lite0"])
def test_weights_hold_no_top1(base: str, tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"^--base-top1: the ImageNet top-1 of .* is not known"):
        known_top1(base.format(tmp=tmp_path))
