"""Rewards, limits and fronts by their published definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.objective import Objective, pareto_front
from search_spaces.cost import Costs
from vbs.units import parse_quantity, parse_seconds, percent, short, short_seconds

FLOPS = np.array([200e6, 400e6, 800e6]).astype(np.int64)
COSTS = Costs(FLOPS, np.array([1, 5, 9]) * 10**6, np.zeros(3, np.int64))
ACCURACY = np.array([70.0, 75.0, 80.0])


def test_soft_mnas_reward_gives_five_percent_for_half_the_cost() -> None:
    # MnasNet, section 3: w = -0.07 since doubling the latency is worth 5% relative accuracy
    reward = Objective(400e6).reward(np.array([1.0, 1.0, 1.05]), COSTS)
    assert reward[1] == 1.0
    assert reward[2] == pytest.approx(reward[1], rel=2e-3)
    assert reward[0] == pytest.approx(2**0.07)


def test_hard_mnas_reward_is_accuracy_up_to_the_target() -> None:
    reward = Objective(400e6, "mnas-hard", over_target="allow").reward(ACCURACY, COSTS)
    np.testing.assert_allclose(reward, [70.0, 75.0, 40.0])


def test_absolute_reward_of_tunas() -> None:
    reward = Objective(400e6, "absolute", -0.1).reward(ACCURACY, COSTS)
    np.testing.assert_allclose(reward, [70.0 - 5.0, 75.0, 80.0 - 10.0])


def test_limits() -> None:
    objective = Objective(400e6, limits=(("params", 4e6),))
    assert objective.feasible(COSTS).tolist() == [True, False, False]
    np.testing.assert_allclose(objective.violation(COSTS), [0.0, 0.25, 1.25])
    lifted = Objective(400e6, over_target="allow")
    assert lifted.feasible(COSTS).all()
    assert (lifted.violation(COSTS) == 0).all()


def test_targets_and_limits_of_measured_costs() -> None:
    seconds = {"latency": np.array([0.01, 0.02, 0.04]), "step_time": np.array([0.3, 0.1, 0.1])}
    costs = Costs(COSTS.flops, COSTS.params, COSTS.activations, seconds)
    objective = Objective(0.02, of="latency", limits=(("step_time", 0.2), ("params", 8e6)))
    assert objective.all_limits == (("latency", 0.02), ("step_time", 0.2), ("params", 8e6))
    assert objective.feasible(costs).tolist() == [False, True, False]
    np.testing.assert_allclose(objective.violation(costs), [0.5, 0.0, 1.0])
    reward = Objective(0.02, "mnas-hard", over_target="allow", of="latency").reward(ACCURACY, costs)
    np.testing.assert_allclose(reward, [70.0, 75.0, 40.0])
    with pytest.raises(ValueError, match="'latency' is unknown here"):
        objective.feasible(COSTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "target_flops: 0.0"),
        ((float("nan"),), "target_flops: nan"),
        ((1e6, "best"), "reward: 'best' is unknown"),
        ((1e6, "mnas", 0.5), "exponent: 0.5 is not allowed"),
        ((1e6, "feasible", None, "allow"), "which does not depend on the target"),
        ((1e6, "mnas", None, "forbid", (("memory", 1.0),)), "limit: 'memory'"),
        ((1e6, "mnas", None, "forbid", (("params", -1.0),)), "params -1.0"),
        ((1e6, "mnas", None, "forbid", (), "latensy"), "did you mean latency"),
        ((-0.1, "mnas", None, "forbid", (), "latency"), "target_latency: -0.1"),
    ],
)
def test_impossible_objectives(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(*arguments)


def test_front_equals_the_definition() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.integers(0, 30, 300).astype(float)
    flops = rng.integers(0, 30, 300)
    accuracy[::17] = np.nan
    front = pareto_front(accuracy, flops)
    valid = [i for i in range(300) if not np.isnan(accuracy[i])]
    undominated = [
        i
        for i in valid
        if not any(
            accuracy[j] >= accuracy[i]
            and flops[j] <= flops[i]
            and (accuracy[j] > accuracy[i] or flops[j] < flops[i])
            for j in valid
        )
    ]
    points = {(accuracy[i], flops[i]) for i in undominated}
    assert [(accuracy[i], flops[i]) for i in front] == sorted(points, key=lambda p: p[1])
    assert len(pareto_front(np.array([np.nan]), np.array([1]))) == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("400M", 400e6), ("0.4G", 4e8), ("4e8", 4e8), ("400000000", 4e8), ("1.5k", 1500), ("2B", 2e9)],
)
def test_quantities(text: str, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["banana", "", "0", "-1", "1.2.3", "nan", "inf", "4 00M", "1e999"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 400M"):
        parse_quantity(text, what="--budget")


def test_short_numbers() -> None:
    assert [short(x) for x in (385_814_752, 5_288_548, 999, 2.5e12, 999_999, 36.8e9)] == [
        "385.8M",
        "5.289M",
        "999",
        "2.5T",
        "1M",
        "36.8G",
    ]


def test_percentages_have_no_exponent() -> None:
    shares = (1.0, 0.9999, 0.999, 0.985, 0.67, 0.0994, 0.0052, 0.0001, 0.00009, 0.0)
    assert [percent(share) for share in shares] == [
        "100%",
        "99.9%",
        "99.9%",
        "98.5%",
        "67%",
        "9.9%",
        "0.52%",
        "0.01%",
        "less than 0.01%",
        "less than 0.01%",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20ms", 0.02),
        ("1.5s", 1.5),
        ("250us", 250e-6),
        ("250 \u00b5s", 250e-6),
        ("2e3 MS", 2.0),
        ("30min", 1800),
        ("1.5 h", 5400),
    ],
)
def test_times(text: str, value: float) -> None:
    assert parse_seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["20", "ms", "", "0ms", "-1s", "1.2.3s", "nan s", "1e999s", "2m"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"--target-latency: .*write it like 20ms"):
        parse_seconds(text, what="--target-latency")


def test_short_times() -> None:
    assert [short_seconds(x) for x in (25e-6, 0.0203, 0.9996, 1.5, 90.0, 14_400)] == [
        "25us",
        "20.3ms",
        "1s",
        "1.5s",
        "90s",
        "14,400s",
    ]


def test_further_factors_multiply_the_reward() -> None:
    """EfficientNetV2's A * S^w * P^v (Tan & Le 2021, section 3.2)."""
    costs = Costs(
        np.array([1, 1]),
        np.array([7_000_000, 14_000_000]),
        np.array([1, 1]),
        {"step_time": np.array([0.1, 0.05])},
    )
    objective = Objective(
        0.1, "mnas", -0.07, "allow", of="step_time", also=(("params", 7e6, -0.05),)
    )
    reward = objective.reward(np.array([80.0, 80.0]), costs)
    assert reward == pytest.approx([80.0, 80 * 0.5**-0.07 * 2**-0.05])


@pytest.mark.parametrize(
    ("also", "complaint"),
    [
        ((("parms", 7e6, -0.05),), "also: 'parms' is unknown; did you mean params"),
        ((("params", 0.0, -0.05),), "also: the reference 0.0 of params"),
        ((("params", 7e6, 0.05),), "also: the exponent 0.05 of params is not allowed"),
    ],
)
def test_impossible_factors_are_named(also: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint):
        Objective(400e6, also=also)


def test_the_reward_is_given_by_its_name() -> None:
    objective = Objective(400e6, reward="mnas-hard")
    assert objective == Objective(400e6, "mnas-hard")
    assert objective.reward_name == "mnas-hard"
    assert replace(objective, target=300e6).reward_name == "mnas-hard"
    assert replace(objective, reward_name="feasible", exponent=None).exponent == 0.0
