"""Grids: their candidates, and the network that represents the base."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from scaling.compound import Factors, Rules, grown
from scaling.grid import AXES, ProxySize, candidates, grid, proxy_base, shares, spread
from scaling.trainings import usual_fidelity
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from train.recipe import preset

B0 = zoo("efficientnet_b0")


def test_candidates_are_all_distinct_networks_of_the_grid_that_meet_the_growth() -> None:
    found = candidates(B0, growth=2.0, step=0.1, tolerance=0.05)
    brute = set()
    ways = [round(1 + 0.1 * i, 6) for i in range(14)]
    for depth, width, side in itertools.product(ways, ways, ways):
        if not 0.8 < depth * width**2 * side**2 < 2.5:
            continue  # far from the growth with any rounding
        for layers in ("up", "nearest"):
            network = grown(B0, Factors(depth, width, side), Rules(layers=layers))
            if abs(cost(network).flops / cost(B0).flops / 2 - 1) <= 0.05:
                brute.add(network)
    networks = [each.architecture for each in found]
    assert len(set(networks)) == len(networks)
    controls = {each.architecture for each in found if each.is_control}
    assert {*networks} - controls <= brute <= {*networks}
    assert len({each.name for each in found}) == len(found)


def test_facts_about_b0s_grid() -> None:
    """Step 0.05, formula near 2: networks of 1.93 to 3.33 times the cost (FACTS.md, section 3)."""
    ways = [round(1 + 0.05 * i, 6) for i in range(23)]
    near = [
        Factors(*point)
        for point in itertools.product(ways, ways, ways)
        if abs(Factors(*point).growth / 2 - 1) <= 0.05
    ]
    real = {
        network: cost(network).flops / cost(B0).flops
        for network in (grown(B0, factors) for factors in near)
    }
    assert min(real.values()) == pytest.approx(1.93, abs=0.05)
    assert max(real.values()) == pytest.approx(3.33, abs=0.1)
    for each in candidates(B0):
        assert abs(each.growth / 2 - 1) <= 0.05 or each.is_control


def test_controls_grow_along_one_axis_at_the_same_cost() -> None:
    controls = {each.name: each for each in candidates(B0) if each.is_control}
    assert tuple(controls) == AXES
    for axis, each in controls.items():
        assert each.growth == pytest.approx(2.0, rel=0.05)
        for other in AXES:
            if other != axis:
                assert getattr(each.real, other) == 1.0


def test_the_base_itself_is_no_candidate() -> None:
    for each in candidates(B0, growth=1.1, tolerance=0.5):
        assert each.architecture != B0
        assert sum(shares(each)) == pytest.approx(1.0)


def test_the_papers_coefficients_are_among_them() -> None:
    assert "(1.2, 1.1, 1.15)" in [str(each) for each in grid(B0)]


def apart(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return distances [n, m] of places [n, k] to places [m, k]."""
    return np.sqrt(((places[:, None] - others[None]) ** 2).sum(2))


def test_spread_covers_the_triangle() -> None:
    found = candidates(B0)
    chosen = spread(found, 10)
    assert sum(not each.is_control for each in chosen) == 10
    assert sum(each.is_control for each in chosen) == 3
    assert {*chosen} <= {*found}
    places = np.array([shares(each) for each in found if not each.is_control])
    trained = np.array([shares(each) for each in chosen])
    assert apart(places, trained).min(1).max() < 0.35
    assert apart(trained[:10], trained[10:]).min() > 0.2  # none repeats a control
    assert places.sum(1) == pytest.approx(1.0)


def test_growth_may_be_of_any_cost() -> None:
    """Times that grow with the side only; few networks are measured."""
    asked: list[int] = []

    def costs(networks: Sequence[Architecture]) -> list[float]:
        asked.append(len(networks))
        return [float(network.resolution**2) for network in networks]

    found = candidates(B0, growth=1.5, costs=costs)
    assert asked[0] <= 80
    for each in found:
        assert each.architecture.resolution**2 / 224**2 == pytest.approx(each.growth)
    assert {each.name for each in found if each.is_control} == {*AXES}


def test_candidates_are_looked_for_where_times_should_meet_the_growth() -> None:
    def seconds(networks: Sequence[Architecture]) -> list[float]:
        costs = [cost(network) for network in networks]
        return [each.flops**0.85 * each.activations**0.1 for each in costs]

    found = candidates(B0, costs=seconds)
    assert sum(not each.is_control for each in found) >= 14
    own, *others = seconds([B0, *(each.architecture for each in found)])
    for each, other in zip(found, others, strict=True):
        assert each.is_control or other / own == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"growth": 1.0}, "growth: 1.0 is not allowed"),
        ({"step": 0.0}, "step: 0.0 is not allowed"),
        ({"tolerance": 1.0}, "tolerance: 1.0 is not allowed"),
        (
            {"growth": 1.02, "tolerance": 0.001},
            "growth: no candidate costs 1.02 times the base within 0.1%; the nearest costs 1",
        ),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint):
        candidates(B0, **changes)


def test_a_proxy_is_narrowed_to_its_flops() -> None:
    small = proxy_base(B0, ProxySize(classes=10, resolution=32, small_images=True, flops=4e6))
    assert 3e6 < cost(small).flops <= 4e6
    assert (small.resolution, small.classes) == (32, 10)
    assert [stage.layers for stage in small.stages] == [stage.layers for stage in B0.stages]
    with pytest.raises(ValueError, match=r"proxy: the base cannot be narrowed to 10K FLOPs"):
        proxy_base(B0, ProxySize(resolution=32, flops=1e4))
    with pytest.raises(ValueError, match="resolution: it is too small"):
        proxy_base(B0, ProxySize(resolution=4))


def test_a_proxy_is_no_narrower_than_asked_for() -> None:
    least = proxy_base(B0, ProxySize(resolution=96, flops=3e6, narrowest=0.15))
    assert cost(least).flops > 3e6
    assert least == proxy_base(B0, ProxySize(resolution=96, width=0.15))
    small = proxy_base(B0, ProxySize(resolution=32, flops=3e6, narrowest=0.15))
    assert cost(small).flops <= 3e6


@pytest.mark.parametrize(
    ("images", "classes", "text"),
    [
        (45_000, 10, "epochs=8,share=0.2"),
        (45_000, 100, "epochs=8,share=0.2"),
        (1_268_000, 1000, "epochs=8,share=0.071"),
        (3_300, 5, "epochs=22,share=1"),
        (648, 12, "epochs=60,share=1"),
        (200, 2, "epochs=300,share=1"),
    ],
)
def test_trainings_suit_the_number_of_images(images: int, classes: int, text: str) -> None:
    assert str(usual_fidelity(preset("proxy"), images, classes)) == text


def test_a_growth_that_no_network_is_near_to_is_told_in_seconds_too() -> None:
    with pytest.raises(ValueError, match=r"growth: no candidate costs 1.2 times .* nearest costs"):
        candidates(B0, growth=1.2, step=0.5, costs=lambda all: [cost(n).flops for n in all])
