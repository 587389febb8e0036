"""Fast compound scaling and TinyNet's shrinking reproduce the published digits."""

from __future__ import annotations

import pytest

from scaling.compound import FAST_RULES, TINY, TINY_RULES, Factors, fast, grown, tiny
from search_spaces.catalog import zoo
from search_spaces.cost import cost

B0 = zoo("efficientnet_b0")


# Dollar et al. 2021 with the rounding of pycls: growth, FLOPs, activations, params over B0's
@pytest.mark.parametrize(
    ("weights", "growth", "flops", "activations", "params"),
    [
        ((1, 8, 1), 4, 3.58, 1.98, 2.99),
        ((1, 8, 1), 8, 7.56, 3.19, 5.26),
        ((1, 1, 1), 4, 4.40, 3.19, 2.50),
        ((1, 1, 1), 8, 7.94, 5.09, 3.69),
    ],
)
def test_b0_grows_as_published(
    weights: tuple[float, ...], growth: float, flops: float, activations: float, params: float
) -> None:
    network = cost(grown(B0, fast(growth, weights=weights), FAST_RULES))
    base = cost(B0)
    assert round(network.flops / base.flops, 2) == flops
    assert network.activations / base.activations == pytest.approx(activations, abs=0.0051)
    assert round(network.params / base.params, 2) == params


def test_fast_factors() -> None:
    assert fast(4) == pytest.approx((4**0.1, 4**0.4, 4**0.05))
    assert fast(4).growth == pytest.approx(4)
    assert fast(1) == Factors()
    assert fast(0.25).growth == pytest.approx(0.25)
    assert fast(3, weights=(1, 0, 0)) == Factors(3, 1, 1)


@pytest.mark.parametrize("growth", [0, -1, float("inf"), float("nan"), True])
def test_a_growth_that_is_none_is_refused(growth: float) -> None:
    with pytest.raises(ValueError, match=r"growth: .* is not allowed"):
        fast(growth)


@pytest.mark.parametrize("weights", [(0, 0, 0), (1, -1, 1), (1, 2)])
def test_weights_that_are_no_shares_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"weights: .* are not shares"):
        fast(2, weights=weights)


@pytest.mark.parametrize(
    ("factors", "params"),
    zip(TINY, (6_187_972, 3_730_562, 2_457_234, 2_338_446, 2_042_972), strict=True),
)
def test_tinynets_are_those_of_timm(factors: Factors, params: int) -> None:
    """Compares params of timm's tinynet_a to tinynet_e."""
    assert cost(grown(B0, factors, TINY_RULES)).params == params


def test_tiny_goes_through_the_published_networks() -> None:
    for each in TINY:
        assert tiny(each.growth) == pytest.approx(tuple(each))
    assert tiny(1.0) == Factors()
    half = tiny(0.25)
    assert half.growth == pytest.approx(0.25)
    assert half.width < half.depth
    assert half.width < half.resolution
    for growth in (0.01, 1.5, 0):
        with pytest.raises(ValueError, match=r"TinyNet shrinks to 0\.035"):
            tiny(growth)
