"""Inherited weights: an equal parent, and children that compute the same as a masked parent."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.network import Network, build
from search_spaces.parent import parent_space
from train.inherit.importance import (
    Importance,
    by_norm_scale,
    by_taylor,
    by_weights,
    layers_by_loss,
    layers_from_the_end,
)
from train.inherit.layout import parts, sizes
from train.inherit.weights import KERNELS, inherit, most_important

PARENTS = (
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    pytest.param("efficientnetv2_s", marks=pytest.mark.slow),
    "resnet50",
    "mobilenet_v1",
    "mobilenet_v2",
    "mnasnet_a1",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
)


def trained(name: str, side: int = 64) -> Network:
    """Return a network with weights and statistics as diverse as those of a trained one."""
    torch.manual_seed(1)
    architecture = dataclasses.replace(zoo(name), resolution=side, classes=10)
    network = build(architecture).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def images(count: int = 4, side: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, 3, side, side, generator=generator), torch.arange(count) % 10


def importance_of(network: Network) -> Importance:
    return Importance(by_taylor(network, [images()]), layers_by_loss(network, [images()]))


@pytest.mark.parametrize("name", PARENTS)
def test_a_child_that_is_the_parent_has_its_weights(name: str) -> None:
    network = trained(name)
    own = network.state_dict()
    found = inherit(own, network.architecture, network.architecture, importance_of(network))
    assert set(found) == set(own)
    assert all(torch.equal(found[key], own[key]) for key in own)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARENTS)
def test_the_weights_of_any_child_load(name: str) -> None:
    network = trained(name)
    importance = importance_of(network)
    space = parent_space(network.architecture)
    for genotype in space.sample(12, np.random.default_rng(0)):
        child = build(space.decode(genotype)).eval()
        weights = inherit(
            network.state_dict(), network.architecture, child.architecture, importance
        )
        child.load_state_dict(weights, strict=True)
        assert child(images(2, child.architecture.resolution)[0]).isfinite().all()


def masked(network: Network, child: Architecture, importance: Importance) -> Network:
    """Return the parent with everything that the child lacks set to 0, without slicing."""
    network = copy.deepcopy(network)
    architecture = network.architecture
    kept = [
        most_important(values, stage.layers)
        for values, stage in zip(importance.layers, child.stages, strict=True)
    ]
    counts = sizes(child)
    for part in parts(architecture):
        if part.stage >= 0 and part.layer not in kept[part.stage]:
            continue
        if part.out is None:
            continue
        kind, stage, layer = part.out
        own = part.out if layer < 0 else (kind, stage, int(np.searchsorted(kept[stage], layer)))
        module = network.get_submodule(part.name)
        away = np.ones(len(importance.channels[part.out]), bool)
        away[most_important(importance.channels[part.out], counts[own])] = False
        if module.bias is not None:  # norms, gates, and a head without a norm
            module.weight.data[away], module.bias.data[away] = 0.0, 0.0
    for stage, (group, first) in enumerate(network.architecture.places()):
        blocks = network.blocks[group]
        for layer in range(network.architecture.stages[stage].layers):
            if layer not in kept[stage]:
                blocks[first + layer] = nn.Identity()
                continue
            for name, module in blocks[first + layer].named_modules():
                if name not in KERNELS:
                    continue
                side = getattr(child.stages[stage], KERNELS[name])
                if module.kernel_size[0] > side:
                    ring = torch.ones_like(module.weight, dtype=torch.bool)
                    cut = (module.kernel_size[0] - side) // 2
                    ring[..., cut:-cut, cut:-cut] = False
                    assert "se." not in name
                    module.weight.data[ring] = 0.0
    return network


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_lite0",
        "efficientnet_b0",
        pytest.param("efficientnetv2_s", marks=pytest.mark.slow),
        "resnet50",
        "mobilenetv3_small_100",
        "mobilenetv4_conv_small",
    ],
)
def test_a_child_computes_what_the_masked_parent_computes(name: str) -> None:
    network = trained(name)
    importance = importance_of(network)
    space = parent_space(network.architecture)
    rng = np.random.default_rng(3)
    for genotype in space.sample(6, rng):
        choices = space.choices_of(genotype) | {"resolution": 64}
        # without squeeze-and-excitation a child has no gate, where the parent's is not 1
        choices |= {key: space.choices[key][0] for key in choices if key.endswith("_se")}
        child = build(space.decode(space.encode(choices))).eval()
        weights = inherit(
            network.state_dict(), network.architecture, child.architecture, importance
        )
        child.load_state_dict(weights)
        expected = masked(network, child.architecture, importance)(images()[0])
        assert torch.allclose(child(images()[0]), expected, atol=1e-4, rtol=1e-4)


def test_gradients_flow_into_the_parent() -> None:
    network = trained("tf_efficientnet_lite0")
    importance = importance_of(network)
    space = parent_space(network.architecture)
    child = space.decode(space.sample(1, np.random.default_rng(0))[0])
    tensors = {**network.state_dict(), **dict(network.named_parameters())}
    weights = inherit(tensors, network.architecture, child, importance)
    logits = torch.func.functional_call(build(child).train(), weights, images()[0])
    logits.sum().backward()
    grad = network.conv_head.weight.grad
    assert grad is not None
    assert 0 < int((grad.flatten(1).abs().sum(1) > 0).sum()) <= child.head


def test_what_matters_less_is_dropped_first() -> None:
    network = trained("tf_efficientnet_lite0")
    branch = network.blocks[3][1]
    branch.bn3.weight.data.zero_()  # this layer adds nothing
    branch.bn3.bias.data.zero_()
    rises = layers_by_loss(network, [images()])[3]
    assert rises[0] == np.inf
    assert rises[1] == pytest.approx(0.0, abs=1e-6)
    assert abs(rises[2]) > 1e-4
    network.bn2.weight.data[5] = network.bn2.bias.data[5] = 0.0
    for measure in (by_norm_scale, lambda each: by_taylor(each, [images()])):
        found: Mapping = measure(network)
        assert found["head", -1, -1][5] == found["head", -1, -1].min() == 0
    network.conv_head.weight.data[7] = 0.0
    network.classifier.weight.data[:, 7] = 0.0
    assert by_weights(network)["head", -1, -1].argmin() == 7
    ends = layers_from_the_end(network)
    assert most_important(ends[5], 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"stem": 64}, "child: its stem is 64; use at most the parent's 32"),
        ({"head": 0}, "child: its head is 0; use at most the parent's 1280"),
        ({"classes": 3}, "child: its classes is 3, and 10 in the parent"),
        ({"activation": "silu"}, "child: its activation is 'silu', and 'relu6' in the parent"),
        ({"stages": 3}, "child: it has 3 stages, and the parent has 7"),
        ({"layers": 9}, "child: its stages[1].layers is 9; use at most the parent's 2"),
        ({"op": "fused"}, "child: its stages[1].op is 'fused', and 'mbconv' in the parent"),
        ({"se": 0.25}, "child: its stages[1].se is 0.25, and 0.0 in the parent"),
        ({"start_kernel": 3, "op": "uib"}, "child: its stages[1].op is 'uib', and 'mbconv' in"),
        ({"expand": 1}, "child: its stages[1] has other layers or shortcuts than the parent's: "),
    ],
)
def test_what_is_no_sub_network_is_refused(change: dict[str, object], complaint: str) -> None:
    network = trained("tf_efficientnet_lite0")
    whole = network.architecture
    stage_fields = {field.name for field in dataclasses.fields(whole.stages[0])}
    if "stages" in change:
        child = dataclasses.replace(whole, stages=whole.stages[:3])
    elif set(change) <= stage_fields - {"activation"}:  # of the network, and of stages
        second = dataclasses.replace(whole.stages[1], **change)
        child = dataclasses.replace(whole, stages=(whole.stages[0], second, *whole.stages[2:]))
    else:
        child = dataclasses.replace(whole, **change)
    importance = Importance(by_weights(network), layers_from_the_end(network))
    with pytest.raises(ValueError, match="child: ") as error:
        inherit(network.state_dict(), whole, child, importance)
    assert str(error.value).startswith(complaint)
