"""Family members whose real cost meets the budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from scaling.budget import real_factors, within_budget, within_measured
from scaling.compound import PUBLISHED, Factors, Rules, grown
from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import zoo
from search_spaces.cost import cost


@pytest.mark.parametrize(
    ("name", "phi", "rules"),
    [
        ("efficientnet_b0", 1, Rules()),
        ("efficientnet_b0", 4, Rules()),
        ("efficientnet_b0", 3, Rules(resolution_step=32)),
        ("mobilenet_v2", 2, Rules(fixed_ends=True)),
        ("mnasnet_a1", 0.5, Rules()),
        ("resnet50", 1, Rules(round_to=16)),
        ("efficientnetv2_b0", 5, Rules("v2")),
    ],
)
def test_real_flops_are_within_three_percent(name: str, phi: float, rules: Rules) -> None:
    base, factors = zoo(name), PUBLISHED.factors(phi)
    member = within_budget(base, factors, 2.0**phi, rules=rules)
    assert cost(member).flops / cost(base).flops == pytest.approx(2.0**phi, rel=0.03)
    assert member.resolution % rules.resolution_step == 0
    if rules.largest:
        assert member.resolution <= rules.largest
    real = real_factors(base, member)
    if rules.kind == "compound":  # near the requested direction
        power = phi * math.log(2) / math.log(factors.growth)
        for found, asked in zip(real, factors, strict=True):
            assert abs(math.log(found) - power * math.log(asked)) < 0.12


def test_one_axis_stays_one_axis() -> None:
    base = zoo("efficientnet_b0")
    member = within_budget(base, Factors(1.0, 1.0, 1.2), 2.0)
    real = real_factors(base, member)
    assert (real.depth, real.width) == (1.0, 1.0)
    assert real.resolution == pytest.approx(2**0.5, rel=0.02)


def narrow() -> Architecture:
    """Return a small network for 32 px, such as a search on CIFAR-10 finds."""
    stages = [(2, 16, 1), (1, 48, 2), (3, 64, 2), (2, 48, 1)]
    return dataclasses.replace(
        zoo("mobilenet_v2"),
        stem=16,
        head=256,
        resolution=32,
        classes=10,
        stages=tuple(
            Stage("mbconv", layers=layers, kernel=3, stride=stride, expand=4, channels=channels)
            for layers, channels, stride in stages
        ),
    )


def test_no_stage_of_a_larger_member_is_smaller() -> None:
    """Uses a narrow network, whose channels in multiples of eight grow in large steps."""
    network = narrow()
    for phi in (0.5, 1, 1.5, 2, 3):
        member = within_budget(network, Factors(1.0, 1.2226, 1.1567), 2.0**phi)
        for own, before in zip(member.stages, network.stages, strict=True):
            assert own.layers >= before.layers
            assert own.channels >= before.channels


def test_what_a_cap_takes_goes_to_depth_and_width() -> None:
    base, factors = zoo("efficientnet_b0"), PUBLISHED.factors(4)
    free = real_factors(base, within_budget(base, factors, 16.0))
    member = within_budget(base, factors, 16.0, rules=Rules(max_resolution=300))
    capped = real_factors(base, member)
    assert member.resolution <= 300
    assert capped.depth > free.depth
    assert capped.width > free.width


def test_no_growth_is_the_base() -> None:
    base = zoo("mobilenet_v2")
    assert within_budget(base, Factors(), 1.0) == base


def test_real_factors_of_one_axis() -> None:
    base = zoo("efficientnet_b0")
    assert real_factors(base, base) == (1.0, 1.0, 1.0)
    deep = real_factors(base, grown(base, Factors(depth=2.0)))
    assert deep == pytest.approx((2.0, 1.0, 1.0))
    wide = real_factors(base, grown(base, Factors(width=2.0)))
    assert wide.depth == 1.0
    assert wide.width == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("growth", "tolerance", "complaint"),
    [
        (0.0, 0.03, "growth: 0.0 is not allowed"),
        (2.0, 0.0, "tolerance: 0.0 is not allowed"),
        (2.0, 1e-7, "growth: no member costs 2 times the base within 1e-05%; the nearest costs "),
    ],
)
def test_what_cannot_be_is_said(growth: float, tolerance: float, complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint):
        within_budget(
            zoo("mobilenet_v2"),
            PUBLISHED.factors(),
            growth,
            tolerance=tolerance,
            rules=Rules(resolution_step=32),
        )


def seconds(networks: Sequence[Architecture]) -> list[float]:
    """Return times as on a GPU: a constant for each layer, and sublinear in FLOPs."""
    return [
        1e-4 * sum(stage.layers for stage in each.stages) + 1e-8 * cost(each).flops ** 0.8
        for each in networks
    ]


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "resnet50"])
@pytest.mark.parametrize("phi", [0.5, 1, 3])
def test_measured_cost_is_what_was_asked_for(name: str, phi: float) -> None:
    base, asked = zoo(name), []

    def costs(networks: Sequence[Architecture]) -> list[float]:
        asked.append(networks)
        return seconds(networks)

    member = within_measured(base, PUBLISHED.factors(phi), 2.0**phi, costs)
    of_base, of_member = seconds([base, member])
    assert of_member / of_base == pytest.approx(2.0**phi, rel=0.03)
    assert cost(member).flops / cost(base).flops > 1.04 * 2**phi  # FLOPs alone would fall short
    assert 1 <= len(asked) <= 6


def test_no_growth_is_the_base_and_measures_nothing() -> None:
    base = zoo("efficientnet_b0")
    assert within_measured(base, PUBLISHED.factors(0), 1, lambda networks: 1 / 0) is base


def test_a_cost_that_does_not_grow_is_told() -> None:
    with pytest.raises(
        ValueError, match="a measured cost of 2 times the base's within 3%; the nearest"
    ):
        within_measured(
            zoo("efficientnet_b0"), PUBLISHED.factors(1), 2, lambda networks: [1.0] * len(networks)
        )


def test_a_growth_below_every_rounding_is_told() -> None:
    with pytest.raises(ValueError, match=r"measured cost of 1\.001 times the base's within 0"):
        within_measured(
            zoo("efficientnet_b0"), PUBLISHED.factors(0.001), 1.001, seconds, tolerance=1e-4
        )


@pytest.mark.parametrize("phi", [1.0, 2.0, 3.0])
def test_a_clock_that_jumps_is_followed(phi: float) -> None:
    """Sides that do not halve to whole numbers take longer, and measurements have noise."""
    rng = np.random.default_rng(0)

    def costs(networks: Sequence[Architecture]) -> list[float]:
        return [
            cost(network).flops ** 0.8
            * (1.0 + 0.08 * (network.resolution % 4 > 0))
            * float(np.exp(rng.normal(0, 0.01)))
            for network in networks
        ]

    base = narrow()
    member = within_measured(base, PUBLISHED.factors(phi), 2**phi, costs, tolerance=0.05)
    own, grown_to = costs([base, member])
    assert grown_to / own == pytest.approx(2**phi, rel=0.1)
