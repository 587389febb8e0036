"""scale() against the published families and its own rules."""

import dataclasses
import math
import re

import pytest
import timm
import torch

from search_spaces.architecture import Architecture, Stage
from search_spaces.cost import cost
from search_spaces.scale import Rounding, round_channels, scale
from search_spaces.zoo import NETWORKS
from vbs.text import quoted

B0 = NETWORKS["efficientnet_b0"]()


def test_joined_stages_grow_as_one_stage_of_timm() -> None:
    # timm.models._efficientnet_builder._scale_stage_depth of 1, 4, 1 and 1, 1, 1, 1, 2 layers
    grown = scale(NETWORKS["mobilenetv4_conv_small"](), depth=1.5)
    assert [stage.layers for stage in grown.stages[4:7]] == [1, 6, 2]
    assert [stage.layers for stage in grown.stages[7:12]] == [1, 2, 1, 2, 3]
    plain = scale(NETWORKS["efficientnet_b0"](), depth=1.1)
    assert [stage.layers for stage in plain.stages] == [2, 3, 3, 4, 4, 5, 2]


@pytest.mark.parametrize(
    ("name", "width", "depth", "side"),
    [("b1", 1.0, 1.1, 240), ("b4", 1.4, 1.8, 380), ("b7", 2.0, 3.1, 600), ("l2", 4.3, 5.3, 800)],
)
def test_published_coefficients_give_the_published_family(name, width, depth, side):
    grown = scale(B0, width=width, depth=depth, resolution=side / 224)
    assert grown == NETWORKS[f"efficientnet_{name}"]()


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("mobilenetv2_140", {"width": 1.4}),
        ("mobilenetv2_110d", {"width": 1.1, "depth": 1.2, "fixed_ends": True}),
        ("mobilenetv2_120d", {"width": 1.2, "depth": 1.4, "fixed_ends": True}),
        ("mnasnet_140", {"width": 1.4}),
        ("semnasnet_075", {"width": 0.75}),
    ],
)
def test_params_equal_timms_scaled_networks(name, factors):
    with torch.device("meta"):
        theirs = timm.create_model(name)
    base = "mobilenetv2_100" if "mobilenet" in name else name[: name.index("_")] + "_100"
    grown = scale(NETWORKS[base](), **factors)
    if "mnasnet" in name:  # whose head timm keeps at 1280
        grown = dataclasses.replace(grown, head=1280)
    assert cost(grown).params == sum(parameter.numel() for parameter in theirs.parameters())


def test_factors_of_one_change_nothing():
    odd = Architecture(13, (Stage("mbconv", 3, 3, 2, 6, 21),), 50, resolution=33)
    assert scale(odd) == odd
    assert scale(odd, depth=2.0).stages[0].channels == 21


@pytest.mark.parametrize(
    ("channels", "width", "rounded"),
    [(32, 1.1, 32), (24, 1.1, 24), (40, 1.1, 48), (16, 1.4, 24), (32, 0.35, 16), (16, 0.1, 8)],
)
def test_channels_round_to_eight_and_lose_no_tenth(channels, width, rounded):
    # 40 * 1.1 = 44 is a tie and goes up; 32 * .35 = 11.2 would lose over a tenth as 8
    assert round_channels(channels, width) == rounded


def test_rounding_is_timms_at_every_width():
    from timm.models._efficientnet_builder import round_channels as timms

    for channels in (8, 16, 24, 112, 320, 1280):
        for step in range(1, 200):
            width = step / 40
            if width == 1:
                continue
            assert round_channels(channels, width) == timms(channels, width)
            lower = round_channels(channels, width, Rounding(floor=0.0))
            assert lower == timms(channels, width, round_limit=0.0)


def test_floor_zero_rounds_to_the_nearest():
    assert round_channels(24, 1.5, Rounding(floor=0.0)) == 40  # a tie
    assert round_channels(11, 1.01, Rounding(floor=0.0)) == 8
    assert round_channels(11, 1.01) == 16


def test_layers_round_up_as_published():
    layers = [stage.layers for stage in scale(B0, depth=1.1).stages]
    assert layers == [math.ceil(1.1 * stage.layers) for stage in B0.stages] == [2, 3, 3, 4, 4, 5, 2]


def test_fixed_ends_keep_stem_head_and_the_outer_stages_layers():
    grown = scale(B0, depth=2.0, width=2.0, fixed_ends=True)
    assert (grown.stem, grown.head) == (32, 1280)
    assert [stage.layers for stage in grown.stages] == [1, 4, 4, 6, 6, 8, 1]
    assert [stage.channels for stage in grown.stages] == [2 * s.channels for s in B0.stages]


@pytest.mark.parametrize("width", [0.3, 0.9, 1.1, 1.25, 1.7])
def test_bottlenecks_stay_whole(width):
    for stage in scale(NETWORKS["resnet50"](), width=width).stages:
        assert stage.channels % stage.expand == 0
        assert stage.channels // stage.expand % 8 == 0
    assert scale(NETWORKS["resnet50"](), width=2.0).stages[0].channels == 512


@pytest.mark.parametrize("fixed_ends", [False, True])
def test_identity_stages_follow_what_they_are_fed(fixed_ends):
    stages = (
        Stage("identity", 1, 1, 1, 1, 16, 0.0),
        Stage("bottleneck", 1, 3, 1, 4, 40, 0.0, "project"),
        Stage("identity", 2, 1, 1, 1, 40, 0.0),
    )
    grown = scale(Architecture(16, stages, 0), width=1.5, fixed_ends=fixed_ends)
    assert grown.stages[0].channels == grown.stem
    assert grown.stages[2].channels == grown.stages[1].channels == 64


@pytest.mark.parametrize(("factor", "side"), [(1.15, 258), (240 / 224, 240), (0.5, 112)])
def test_resolution_goes_to_the_nearest_pixel(factor, side):
    assert scale(B0, resolution=factor).resolution == side


@pytest.mark.parametrize("field", ["depth", "width", "resolution"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, 1e308, 10**400, True, "2", None])
def test_impossible_factors_are_named(field, value):
    named = re.escape(quoted(value))  # a long one is cut
    with pytest.raises(ValueError, match=f"^{field}: {named} is not allowed; use a positive"):
        scale(B0, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("round_to", 0), ("round_to", 8.0), ("floor", -0.1), ("floor", 2)]
)
def test_impossible_rounding_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field}: {value!r} is not allowed"):
        scale(B0, width=2.0, rounding=Rounding(**{field: value}))


def test_a_network_scaled_away_is_refused():
    with pytest.raises(ValueError, match="resolution: it is too small"):
        scale(B0, resolution=0.05)
    with pytest.raises(ValueError, match="layers: 2000"):
        scale(B0, depth=2000)
