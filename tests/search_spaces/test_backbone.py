"""Backbones against timm's `features_only`, and their costs against fvcore."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import timm
import torch

from search_spaces.backbone import Backbone
from search_spaces.cost import cost
from search_spaces.feature_maps import backbone_cost, feature_maps
from search_spaces.network import build
from search_spaces.scale import for_small_images
from search_spaces.zoo import NETWORKS
from tests.oracles import random_architecture, trace
from tests.search_spaces.test_network import images, randomise


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv4_conv_small",
        "mobilenetv3_large_100",
        "efficientnet_b0",
        "tf_efficientnetv2_b0",
        "mobilenetv2_100",
    ],
)
@torch.no_grad()
def test_feature_maps_are_those_of_timm(name: str) -> None:
    theirs = randomise(timm.create_model(name)).eval()
    ours = build(NETWORKS[name]()).eval()
    ours.load_state_dict(theirs.state_dict())
    maps = timm.create_model(name, features_only=True).eval()
    maps.load_state_dict(theirs.state_dict(), strict=False)
    x = images(1, 97)[:, :, :, :65]
    body = Backbone(ours, (2, 4, 8, 16, 32))
    assert body.feature_info.channels() == maps.feature_info.channels()
    assert body.feature_info.reduction() == maps.feature_info.reduction()
    for mine, other in zip(body(x), maps(x), strict=True):
        assert (mine - other).abs().max() / other.std() < 1e-5
    features = ours.forward_features(x)
    assert (features - theirs.forward_features(x)).abs().max() / features.std() < 1e-5
    for pre_logits in (False, True):
        head = theirs.forward_head(features, pre_logits=pre_logits)
        difference = ours.forward_head(features, pre_logits=pre_logits) - head
        assert difference.abs().max() / head.std() < 1e-5


def test_resnets_maps_have_the_channels_of_timms() -> None:
    theirs = timm.create_model("resnet50", features_only=True).feature_info
    maps = feature_maps(NETWORKS["resnet50"](), theirs.reduction())
    assert [each.channels for each in maps] == theirs.channels()
    assert maps[0].module == "act"


def test_reductions_are_chosen() -> None:
    b0 = NETWORKS["efficientnet_b0"]()
    assert [each.reduction for each in feature_maps(b0)] == [4, 8, 16, 32]
    assert [each.reduction for each in feature_maps(b0, [16, 8, 8])] == [8, 16]
    small = for_small_images(b0)
    assert [each.reduction for each in feature_maps(small)] == [4, 8]
    stem = dataclasses.replace(b0, stages=(dataclasses.replace(b0.stages[0], layers=2),))
    assert [each[:3] for each in feature_maps(stem)] == [(2, 16, "blocks.0.1")]
    only = Backbone(build(b0), [2])
    assert len(only.blocks) == 1
    with pytest.raises(ValueError, match=r"^reductions: 64 is not a reduction .*; use 2, 4"):
        feature_maps(b0, [64])
    with pytest.raises(ValueError, match=r"^reductions: none is given; use some of 2, 4, 8"):
        Backbone(build(b0), [])


@torch.no_grad()
def test_maps_of_random_networks_have_the_sizes_that_are_said() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        architecture = random_architecture(rng)
        every = [each.reduction for each in feature_maps(architecture)]
        body = Backbone(build(architecture).eval(), every[: rng.integers(1, len(every) + 1)])
        high, wide = (int(side) for side in rng.integers(65, 112, 2))
        found = body(torch.zeros(1, architecture.in_channels, high, wide))
        info = body.feature_info
        for x, channels, reduction in zip(found, info.channels(), info.reduction(), strict=True):
            assert x.shape == (1, channels, -(-high // reduction), -(-wide // reduction))
        every_name = dict(body.named_modules())
        assert all(name in every_name for name in info.module_name())


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenetv4_conv_small", (320, 640)),
        ("mobilenetv3_small_100", (129, 75)),
        ("efficientnet_lite0", (75, 129)),
    ],
)
def test_costs_at_any_size_equal_a_trace(name: str, size: tuple[int, int]) -> None:
    for padding in ("symmetric", "same"):
        architecture = dataclasses.replace(NETWORKS[name](), padding=padding)
        with torch.device("meta"):
            network = build(architecture)
        network.to_empty(device="cpu")
        assert cost(architecture, size) == trace(architecture, module=network, size=size)
        for reductions in (None, (4, 8)):
            body = Backbone(network, reductions)
            expected = trace(architecture, module=body, size=size)
            assert backbone_cost(architecture, size, reductions) == expected


def test_costs_of_random_networks_at_any_size_equal_a_trace() -> None:
    rng = np.random.default_rng(11)
    for _ in range(8):
        architecture = random_architecture(rng)
        network, size = build(architecture), tuple(map(int, rng.integers(65, 112, 2)))
        assert cost(architecture, size) == trace(architecture, module=network, size=size)
        body = Backbone(network)
        assert backbone_cost(architecture, size) == trace(architecture, module=body, size=size)


def test_a_square_is_a_size_too() -> None:
    b0 = NETWORKS["efficientnet_b0"]()
    assert cost(b0, (224, 224)) == cost(b0)
    assert backbone_cost(b0, (224, 224)) == backbone_cost(b0)
    with pytest.raises(ValueError, match=r"^resolution: 0 is not allowed"):
        cost(b0, (224, 0))
    with pytest.raises(ValueError, match="resolution: it is too small; before"):
        backbone_cost(b0, (224, 8))


def test_weights_of_a_classifier_load_strictly_but_for_its_head() -> None:
    architecture = dataclasses.replace(NETWORKS["mobilenetv4_conv_small"](), classes=7)
    trained = randomise(build(architecture))
    tensors = trained.state_dict()
    body = Backbone(build(dataclasses.replace(architecture, classes=1000)), (4, 8, 16))
    left = body.load_classifier(tensors)
    assert {name.split(".")[0] for name in left} == {
        "blocks",
        "conv_head",
        "norm_head",
        "classifier",
    }
    assert all(name.split(".")[1] in "34" for name in left if name.startswith("blocks"))
    for name, tensor in body.state_dict().items():
        assert torch.equal(tensor, tensors[name])
    body.load_classifier({name: tensors[name] for name in body.state_dict()})  # without a head
    for wrong, complaint in (
        ({**tensors, "blocks.9.0.conv.weight": torch.zeros(1)}, "'blocks.9.0.conv.weight' is no"),
        ({**tensors, "\033[2J": torch.zeros(1)}, r"'\\x1b\[2J' is not a tensor of the network"),
        ({**tensors, "bn1.weight": torch.zeros(3)}, r"the shape of 'bn1.weight' is \[3\], the"),
        ({k: v for k, v in tensors.items() if k != "bn1.bias"}, "'bn1.bias' is missing"),
    ):
        with pytest.raises(ValueError, match=f"^weights: {complaint}|^weights: .*{complaint}"):
            body.load_classifier(wrong)


def test_a_backbone_is_exported() -> None:
    body = Backbone(build(NETWORKS["mobilenetv3_small_100"]())).eval()
    x = images(2, 64)
    exported = torch.export.export(body, (x,)).module()
    for mine, other in zip(body(x), exported(x), strict=True):
        torch.testing.assert_close(mine, other)
