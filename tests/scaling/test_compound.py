"""Compound scaling reproduces the published families and tables."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scaling.compound import PUBLISHED, Coefficients, Factors, Rules, grown, scale, staged_layers
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.zoo import NETWORKS

B0 = zoo("efficientnet_b0")


def test_scale_is_the_spaces_own() -> None:
    from search_spaces import scale as home

    assert scale is home.scale


# Tan & Le 2019, table 3, in G multiply-adds. Its two rows of ResNet-50 for depth and width are
# printed in the wrong order: the cost printed for width 2 is that of depth 4, and vice versa.
@pytest.mark.parametrize(
    ("name", "factors", "published"),
    [
        ("mobilenet_v1", {"width": 2.0}, 2.2),
        ("mobilenet_v1", {"resolution": 2.0}, 2.2),
        ("mobilenet_v2", {"depth": 4.0}, 1.2),
        ("mobilenet_v2", {"width": 2.0}, 1.1),
        ("mobilenet_v2", {"resolution": 2.0}, 1.2),
        ("resnet50", {"depth": 4.0}, 14.7),
        ("resnet50", {"width": 2.0}, 16.2),
        ("resnet50", {"resolution": 2.0}, 16.4),
        # section 5.3, table 7 for B0
        ("efficientnet_b0", {"depth": 1.4, "width": 1.2, "resolution": 1.3}, 1.8),
    ],
)
def test_networks_of_others_grow_to_the_flops_of_the_paper(
    name: str, factors: dict[str, float], published: float
) -> None:
    assert cost(scale(zoo(name), **factors)).flops / 1e9 == pytest.approx(published, rel=0.04)


def test_mobilenet_v1_grows_to_the_papers_compound_size_at_a_multiple_of_32_pixels() -> None:
    factors = Factors(1.4, 1.2, 1.3)
    steps = grown(zoo("mobilenet_v1"), factors, Rules(resolution_step=32))
    assert steps.resolution == 288
    assert cost(steps).flops == pytest.approx(2.3e9, rel=0.04)
    exact = grown(zoo("mobilenet_v1"), factors)
    assert exact.resolution == 291
    assert cost(exact).flops / 2.3e9 == pytest.approx(1.074, abs=0.002)


@pytest.mark.parametrize("name", ["mnasnet_a1", "mobilenet_v2", "resnet50"])
def test_one_factor_alone_costs_what_the_formula_says(name: str) -> None:
    base = zoo(name)
    for factors, growth in (
        (Factors(width=2.0), 4.0),
        (Factors(resolution=2.0), 4.0),
        (Factors(depth=4.0), 4.0),
    ):
        assert cost(grown(base, factors)).flops / cost(base).flops == pytest.approx(
            growth, rel=0.16
        )


@pytest.mark.parametrize("size", range(1, 8))
def test_grown_is_the_published_scaling(size: int) -> None:
    width, depth, side = {
        1: (1.0, 1.1, 240),
        2: (1.1, 1.2, 260),
        3: (1.2, 1.4, 300),
        4: (1.4, 1.8, 380),
        5: (1.6, 2.2, 456),
        6: (1.8, 2.6, 528),
        7: (2.0, 3.1, 600),
    }[size]
    assert grown(B0, Factors(depth, width, side / 224)) == zoo(f"efficientnet_b{size}")


def test_the_published_coefficients_cost_2_57_times_as_much() -> None:
    assert PUBLISHED.growth == pytest.approx(1.2 * 1.1**2 * 1.15**2)
    real = cost(grown(B0, PUBLISHED.factors())).flops / cost(B0).flops
    assert real == pytest.approx(2.57, abs=0.005)


def test_nearest_layers_are_a_finer_staircase() -> None:
    nearest = grown(B0, PUBLISHED.factors(), Rules(layers="nearest"))
    assert [stage.layers for stage in nearest.stages] == [1, 2, 2, 4, 4, 5, 1]
    assert cost(nearest).flops / cost(B0).flops == pytest.approx(2.05, abs=0.01)


def test_v2_rules_cap_the_side_and_deepen_the_later_stages() -> None:
    base = zoo("efficientnetv2_s")
    big = grown(base, Factors(1.5, 1.2, 1.5), Rules("v2"))
    assert big.resolution == 480
    extra = [b.layers / a.layers for a, b in zip(base.stages, big.stages, strict=True)]
    assert extra == sorted(extra)
    assert sum(s.layers for s in big.stages) == math.ceil(1.5 * sum(s.layers for s in base.stages))
    assert grown(base, Factors(1.0, 1.0, 1.5), Rules("v2", max_resolution=400)).resolution == 400


@pytest.mark.parametrize("total", [40, 41, 47, 60, 80, 30, 7])
def test_staged_layers_come_to_the_total(total: int) -> None:
    layers = staged_layers([2, 4, 4, 6, 9, 15], total)
    assert min(layers) >= 1
    assert sum(layers) >= total
    if total >= 30:
        assert sum(layers) == total
    assert staged_layers([1, 1, 1], 4) == [1, 1, 2]


def test_fixed_ends_grow_lite_networks() -> None:
    lite = grown(zoo("efficientnet_lite0"), Factors(1.8, 1.4, 380 / 224), Rules(fixed_ends=True))
    assert lite == NETWORKS["efficientnet_lite4"]()


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Coefficients(0.9, 1.1, 1.1), "alpha: 0.9 is not allowed; use a number from 1"),
        (lambda: Coefficients(1.2, True, 1.1), "beta: True"),
        (lambda: Coefficients(1.2, 1.1, math.nan), "gamma: nan"),
        (lambda: PUBLISHED.factors(math.inf), "phi: inf"),
        (lambda: Rules("v3"), "rules: 'v3' is unknown; use compound or v2"),
        (lambda: Rules(layers="down"), "layers: 'down' is unknown"),
        (lambda: Rules(max_resolution=0), "max_resolution: 0"),
        (lambda: Rules(round_to=0), "round_to: 0"),
        (lambda: grown(B0, Factors(resolution=0.001)), "resolution: 0.001 times 224 px is below"),
        (lambda: grown(B0, Factors(resolution=0.05)), "resolution: it is too small"),
        (lambda: grown(B0, Factors(depth=-1.0)), "depth: -1.0"),
    ],
)
def test_mistakes_are_named(make: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint.replace("(", r"\(")):
        make()
