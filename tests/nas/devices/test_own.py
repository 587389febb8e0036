"""Devices of the user: from ten measurements to a device file, and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.lib.surrogate_scores import kendall_tau
from nas.data_space import search_form
from nas.devices import OwnDevice, design, fit_device, load_device, measurements_needed
from nas.devices.features import Features, weigh
from nas.devices.prior import prior_of
from search_spaces.catalog import space as space_named
from search_spaces.cost import cost
from search_spaces.space import SearchSpace
from tests.speed import assert_quick

SPACE = space_named("efficientnet")
PROXY = "--evaluator proxy --data imagefolder:DIR "
RESULTS = Path(__file__).resolve().parents[3] / "experiments/results/leave_one_device_out.json"


def phone(genotypes: np.ndarray, noise: float = 0.01) -> np.ndarray:
    """Return seconds on a new device: memory-bound, with expensive squeeze layers."""
    costs = SPACE.costs(genotypes)
    squeezes = genotypes[:, 3::4] @ np.array([8, 4, 2, 1, 1, 1, 1])
    seconds = 2e-3 + costs.flops * 1.5e-11 + costs.activations * 1.2e-9 + squeezes * 1e-4
    return seconds * np.exp(noise * np.random.default_rng(5).standard_normal(len(seconds)))


@pytest.fixture(scope="module")
def ten() -> np.ndarray:
    return design(SPACE, 10, np.random.default_rng(0))


@pytest.fixture(scope="module")
def device(ten: np.ndarray) -> OwnDevice:
    return fit_device(SPACE, ten, phone(ten), "my-phone")


def fresh(count: int = 400) -> np.ndarray:
    return SPACE.sample(count, np.random.default_rng(77))


def test_ten_measurements_rank_other_networks(device: OwnDevice) -> None:
    """The ranking is far better than that of FLOPs, and the intervals have their coverage."""
    others = fresh()
    seconds = phone(others, noise=0.0)
    value, std = device.predict(SPACE, others, "latency")
    tau = kendall_tau(seconds, value)
    assert tau > 0.9
    assert tau > kendall_tau(seconds, SPACE.costs(others).flops.astype(float)) + 0.1
    assert np.abs(value / seconds - 1).mean() < 0.08
    assert (np.abs(value - seconds) < 1.96 * std).mean() > 0.8


def test_recorded_leave_one_device_out_reaches_the_goals() -> None:
    """Tau and error of ten designed measurements; on average better than simpler models."""
    rows = json.loads(RESULTS.read_text())["devices"]
    speeds = [row for row in rows if row["kind"] == "throughput"]
    assert len(speeds) == 6
    for row in speeds:
        found = row["with_prior"]["10"]["designed"]
        assert found["kendall_tau"] >= row["goal"]
        assert found["mean_error_percent"] < 8
        assert found["kendall_tau"] > row["flops_tau"] + 0.2
        assert found["refused"] == 0.0

    def mean(prior: str, way: str, name: str) -> float:
        return float(np.mean([row[prior]["10"][way][name] for row in speeds]))

    for prior, way in (("with_prior", "random"), ("costs_only", "designed")):
        for name, sign in (("kendall_tau", 1), ("mean_error_percent", -1)):
            assert sign * mean("with_prior", "designed", name) > sign * mean(prior, way, name)


def test_design_is_of_different_networks_and_repeats_with_its_seed(ten: np.ndarray) -> None:
    assert ten.shape == (10, 28)
    assert ten.dtype == np.int8
    assert len(np.unique(ten, axis=0)) == 10
    assert np.array_equal(ten, design(SPACE, 10, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="count: 0 is not allowed"):
        design(SPACE, 0, np.random.default_rng(0))


def test_what_further_measurements_would_bring(device: OwnDevice) -> None:
    errors = [device.expected[count] for count in sorted(device.expected)]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0] < 0.2
    assert device.leave_one_out is not None
    assert device.leave_one_out.deviation < device.leave_one_out.of_mean
    assert device.leave_one_out.mean_error < 0.25


def test_throughput_is_of_the_batch(ten: np.ndarray) -> None:
    one = fit_device(SPACE, ten, phone(ten), "one")
    many = fit_device(SPACE, ten, 8 * phone(ten), "many", batch=8)
    others = fresh(20)
    rate, _ = one.predict(SPACE, others)
    assert many.predict(SPACE, others)[0] == pytest.approx(rate)
    assert one.predict(SPACE, others, "latency")[0] == pytest.approx(1 / rate)
    assert many.predict(SPACE, others, "latency")[0] == pytest.approx(8 / rate)


def test_a_device_file_predicts_the_same(device: OwnDevice, tmp_path: Path) -> None:
    file = tmp_path / "my-phone.json"
    device.save(file)
    again = load_device(str(file))
    assert again.name == "my-phone"
    for kind in again.kinds:
        before, after = device.predict(SPACE, fresh(), kind), again.predict(SPACE, fresh(), kind)
        assert np.array_equal(before, after)
    with pytest.raises(ValueError, match="measured on the space 'efficientnet'"):
        again.check(space_named("mnasnet"))


def test_300_000_networks_a_second(device: OwnDevice) -> None:
    many = fresh(300_000)
    device.predict(SPACE, many[:10])
    assert_quick(lambda: device.predict(SPACE, many), 1.0)


def test_a_device_with_a_floor_is_recognised(ten: np.ndarray) -> None:
    """All small networks take the time of the input pipeline."""
    others = fresh()
    floor = np.quantile(phone(others), 0.35)
    bounded = fit_device(SPACE, ten, np.maximum(phone(ten), floor), "bounded")
    value, _ = bounded.predict(SPACE, others, "latency")
    assert np.abs(value / np.maximum(phone(others), floor) - 1).mean() < 0.12


def test_bad_times_are_one_line(ten: np.ndarray) -> None:
    times = phone(ten)

    def changed(row: int, value: float | None) -> list:
        return [value if i == row else each for i, each in enumerate(times)]

    cases: list[tuple[list | np.ndarray, str]] = [
        (changed(3, None), "the time of network 4 is missing"),
        (changed(3, float("nan")), "the time of network 4 is missing"),
        (changed(0, 0.0), "network 1 has 0; use seconds above 0"),
        (changed(9, -0.1), "network 10 has -0.1"),
        (np.full(10, 0.02), "all networks take about 0.02 s"),
        (times[:9], "9 times for 10 networks"),
        (["fast"] * 10, "one number for each network"),
        (times * 1e3, "are the times milliseconds"),
        (times * 1e-6, "times in another unit"),
        (times * 1e-300, "use seconds from 1e-09 to 1,000,000"),
        (times * 1e300, "use seconds from 1e-09"),
        ([str(each) for each in times], "one number for each network"),
        ([10**400] * 10, "one number for each network"),
    ]
    for seconds, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            fit_device(SPACE, ten, seconds, "x")
        assert len(str(caught.value).splitlines()) == 1
    slow = fit_device(SPACE, ten, times * 1e3, "slow", any_unit=True)
    assert slow.predict(SPACE, ten, "latency")[0].mean() == pytest.approx(
        1e3 * times.mean(), rel=0.3
    )


def test_equal_networks_are_refused(ten: np.ndarray) -> None:
    with pytest.raises(
        ValueError, match="the times of 1 different network are too few; measure at least 5"
    ):
        fit_device(SPACE, np.repeat(ten[:1], 10, axis=0), phone(ten), "x")


def test_shuffled_times_are_refused(ten: np.ndarray) -> None:
    """Most orders of ten times are refused; some are close to the right one."""
    refused = 0
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(phone(ten))
        try:
            fit_device(SPACE, ten, shuffled, "x")
        except ValueError:
            refused += 1
    assert refused >= 17
    with pytest.raises(ValueError, match="no better than the mean"):
        fit_device(SPACE, ten, np.sort(phone(ten))[np.argsort(-phone(ten)).argsort()], "x")


def test_what_would_take_hours_is_refused() -> None:
    genotypes = SPACE.sample(501, np.random.default_rng(0))
    with pytest.raises(ValueError, match="501 networks are too many; use up to 500"):
        fit_device(SPACE, genotypes, phone(genotypes), "x")
    many = SPACE.sample(60, np.random.default_rng(0))
    found = fit_device(SPACE, many, phone(many), "x").leave_one_out
    assert found is not None
    assert found.mean_error < 0.1
    assert found.tau > 0.9


def test_no_space_is_one_line(ten: np.ndarray, device: OwnDevice) -> None:
    for wrong in (None, "efficientnet", 3):
        for call in (
            lambda space: device.predict(space, ten),
            lambda space: load_device("a100").predict(space, ten),
            lambda space: fit_device(space, ten, phone(ten), "x"),
            lambda space: design(space, 5, np.random.default_rng(0)),
            lambda space: measurements_needed(space),
        ):
            with pytest.raises(ValueError, match="is not a SearchSpace"):
                call(wrong)
    for count in (0, 1.5, "5", None, True, 201):
        with pytest.raises(ValueError, match=r"count: .* is not allowed"):
            design(SPACE, count, np.random.default_rng(0))  # type: ignore[arg-type]
    for error in (0, -1, float("nan"), "x", None):
        with pytest.raises(ValueError, match=r"error: .* is not allowed"):
            measurements_needed(SPACE, error)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "x" * 65, "\x1b[2J", "a100", "train_time", "../x"]
)
def test_names_must_be_printable(ten: np.ndarray, name: str) -> None:
    with pytest.raises(ValueError, match="name: ") as caught:
        fit_device(SPACE, ten, phone(ten), name)
    assert str(caught.value).isprintable()


def hostile(content: dict, **changes: object) -> str:
    return json.dumps({**content, **changes})


def test_hostile_files_are_one_line(device: OwnDevice, tmp_path: Path) -> None:
    file = tmp_path / "device.json"
    device.save(file)
    good = json.loads(file.read_text())
    for text in (
        "",
        "[]",
        "{}",
        "\x00\xff",
        "[" * 100_000,
        hostile(good, format="other"),
        hostile(good, more=1),
        hostile(good, name="\x1b[31m"),
        hostile(good, name=3),
        hostile(good, name="a100"),
        hostile(good, batch=0),
        hostile(good, batch=True),
        hostile(good, space=None),
        hostile(good, settings=[1]),
        hostile(good, settings={"resolution": [1]}),
        hostile(good, networks=good["networks"][:3]),
        hostile(good, networks=[1] * 10),
        hostile(good, seconds=[]),
        hostile(good, seconds=["0.1"] * 10),
        hostile(good, seconds=[True] * 10),
        hostile(good, seconds=[-1.0] * 10),
        hostile(good).replace("0.0", "NaN", 1),
        hostile(good, seconds=[0.1] * 9).replace("0.1]", "0.1, 1e999]"),
        json.dumps({key: value for key, value in good.items() if key != "batch"}),
        file.read_text().replace('"batch"', '"batch": 2, "batch"', 1),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match="device ") as caught:
            load_device(str(file))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500
    file.write_text(hostile(good, networks=[{**good["networks"][0], "block0_e": 7}] * 10))
    with pytest.raises(ValueError, match="block0_e: 7 is not one of"):
        load_device(str(file)).predict(SPACE, fresh(1))
    for changes, message in (
        ({"networks": good["networks"][:1] * 10}, "the times of 1 different network are too few"),
        ({"seconds": [0.02] * 10}, "all networks take about 0.02 s"),
        ({"seconds": [5e-324, *good["seconds"][1:]]}, "use seconds from"),
        ({"seconds": [1e308, *good["seconds"][1:]]}, "use seconds from"),
    ):
        file.write_text(hostile(good, **changes))
        with pytest.raises(ValueError, match=message):
            load_device(str(file)).predict(SPACE, fresh(1))
    with pytest.raises(ValueError, match="No such file"):
        load_device(str(tmp_path / "none.json"))


def test_spaces_without_measured_devices_need_more() -> None:
    """The message gives the number of measurements, with which the fit works."""
    space = space_named("compact", resolution=32, small_images=True)
    needed = measurements_needed(space)
    assert 10 <= needed <= 60
    assert measurements_needed(space, error=0.05) >= needed
    genotypes = design(space, needed, np.random.default_rng(1))

    def seconds(genotypes: np.ndarray) -> np.ndarray:
        costs = space.costs(genotypes)
        return 1e-4 + costs.flops * 2e-10 + costs.activations * 3e-9

    with pytest.raises(ValueError, match=f"measure at least {needed}"):
        fit_device(space, genotypes[: needed - 1], seconds(genotypes[: needed - 1]), "board")
    board = fit_device(space, genotypes, seconds(genotypes), "board")
    others = space.sample(300, np.random.default_rng(2))
    value, _ = board.predict(space, others, "latency")
    assert kendall_tau(seconds(others), value) > 0.85


def test_spaces_without_stages_are_refused() -> None:
    space = SearchSpace("flat", {"a": (1, 2)}, lambda choices: choices)
    with pytest.raises(ValueError, match="not made of stages"):
        design(space, 5, np.random.default_rng(0))


@pytest.mark.slow
def test_sums_equal_the_costs_of_the_networks() -> None:
    for name in ("efficientnet", "mnasnet", "efficientnetv2"):
        space = space_named(name)
        for genotype in space.sample(5, np.random.default_rng(3)):
            network = space.decode(genotype)
            assert weigh(list(network.blocks()))[-3:] == list(cost(network))
            assert Features(space).sums(genotype[None])[0, :17] == pytest.approx(
                weigh(list(network.blocks()))
            )


def test_compiled_features_equal_the_features() -> None:
    features = prior_of(SPACE).features
    mean, values = features.of(fresh(50))
    weights = np.random.default_rng(0).standard_normal((values.shape[1], 3))
    again, out = features.compiled(weights).of(fresh(50))
    assert again == pytest.approx(mean)
    assert out == pytest.approx(values @ weights)


def test_recorded_own_device_is_nearer_than_block_times_and_flops() -> None:
    found = json.loads((RESULTS.parent / "own_device.json").read_text())
    assert {each["runtime"] for each in found["runtimes"]} == {"onnxruntime", "openvino"}
    for each in found["runtimes"]:
        error = each["device"]["mean_error_percent"]
        assert error < 4 < each["block_times"]["mean_error_percent"]
        assert 2 * error < each["flops_fitted_to_the_ten"]["mean_error_percent"]
        assert each["device"]["kendall_tau"] > 0.94


@pytest.mark.parametrize(
    ("name", "form", "suggested"),
    [
        ("efficientnet", {}, "--space efficientnet"),
        ("efficientnet", {"width": 0.5}, "--space efficientnet --resolution 224 --width 0.5"),
        ("mobilenetv4", {}, "--space mobilenetv4 --resolution 224"),
        ("compact", {"resolution": 32, "small_images": True}, "--space compact --resolution 32"),
    ],
)
def test_the_search_that_is_suggested_knows_the_accuracy_of_the_space(name, form, suggested):
    trained = "" if suggested == "--space efficientnet" else PROXY
    assert search_form(name, space_named(name, **form).settings) == trained + suggested


def test_the_search_of_a_space_of_ones_own_trains_on_images():
    assert search_form("own:Space", {}) == f"{PROXY}--space own:Space --resolution 224"
