"""Scores without training equal their published definitions."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.evaluators.zero_cost_scores import SCORES, scores
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.network import build
from tests.nas.toys import small
from tests.train.toys import batch


def convolutional(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        activation(),
        nn.Conv2d(8, 6, 3, stride=2, bias=False),
        nn.BatchNorm2d(6),
        activation(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def made(architecture: Architecture, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(architecture)


def one(name: str, network: nn.Module, images: Tensor, targets: Tensor) -> float:
    return scores(network, images, targets, names=[name])[name]


def test_synflow_of_a_network_small_enough_for_a_pencil():
    network = nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        network[2].weight.copy_(torch.tensor([[-1.0, 1.0]]))
    # |1|+|-2| = 3 and |3|+|4| = 7 arrive; 10 leave; each of the two layers conserves that flow
    found = one("synflow", network, torch.randn(4, 2), torch.zeros(4, dtype=torch.int64))
    assert found == pytest.approx(math.log(20))


def test_synflow_is_conserved_by_the_layers_of_a_chain():
    """Tanaka et al., theorem 2: every layer of a network without branches carries the same flow."""
    network = convolutional().eval()
    flow = torch.ones(1, 3, 16, 16)
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            flow = F.conv2d(flow, layer.weight.abs(), stride=layer.stride)
    flow = F.linear(flow.mean((2, 3)), network[-1].weight.abs()).sum()
    expected = math.log(3 * flow.item())
    assert one("synflow", network, *batch()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weight", [10.0, 1e-2, -1e3])
def test_synflow_is_a_number_where_the_flow_leaves_a_doubles_range(weight):
    network = nn.Sequential(*[nn.Linear(1, 1) for _ in range(190)])
    for layer in network:
        nn.init.constant_(layer.weight, weight)
    found = one("synflow", network, torch.ones(4, 1), torch.zeros(4, dtype=torch.int64))
    assert found == pytest.approx(190 * math.log(abs(weight)) + math.log(190))


def test_synflow_looks_through_gates_and_norms():
    images, targets = batch()
    gated, bare = made(small(layers=1)), made(small(layers=1, se=0.0))
    shared = {name: value for name, value in gated.state_dict().items() if ".se." not in name}
    bare.load_state_dict(shared)
    with torch.no_grad():
        bare.bn1.running_var.fill_(7.0)
        bare.bn1.weight.fill_(3.0)
    assert one("synflow", gated, images, targets) == pytest.approx(
        one("synflow", bare, images, targets)
    )


@pytest.mark.parametrize("name", ["params", "flops", "synflow", "naswot", "zen", "zico"])
def test_wider_networks_score_higher(name):
    images, targets = batch(24)
    found = [
        one(name, made(small(channels=width, stem=width)), images, targets) for width in (4, 16, 64)
    ]
    assert found == sorted(found)
    assert found[0] < found[2]


def gradients(network: nn.Module, images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return kernels and their gradients by `backward`."""
    network = copy.deepcopy(network).train()
    F.cross_entropy(network(images), targets).backward()
    layers = [each for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    return [(layer.weight.detach(), layer.weight.grad) for layer in layers]


@pytest.mark.parametrize("network", [convolutional(), made(small())], ids=["chain", "mbconv"])
def test_snip_and_grad_norm_are_those_of_plain_autograd(network):
    images, targets = batch()
    pairs = gradients(network, images, targets)
    found = scores(network, images, targets)
    assert found["snip"] == pytest.approx(
        sum(float((weight * grad).abs().sum()) for weight, grad in pairs), rel=1e-4
    )
    assert found["grad_norm"] == pytest.approx(
        sum(float(grad.pow(2).sum().sqrt()) for _, grad in pairs), rel=1e-4
    )


def test_zico_is_the_papers_formula_on_two_halves():
    network, (images, targets) = convolutional(), batch()
    parts = (slice(0, 6), slice(6, 12))
    both = [gradients(network, images[part], targets[part]) for part in parts]
    expected = 0.0
    for first, second in zip(*both, strict=True):
        grads = np.stack([first[1].double().numpy(), second[1].double().numpy()])
        deviation = grads.std(0)
        ratio = np.abs(grads).mean(0)[deviation > 0] / deviation[deviation > 0]
        expected += np.log(ratio.sum())
    assert one("zico", network, images, targets) == pytest.approx(expected, rel=1e-3)


def test_soft_targets_are_as_good_as_hard_ones():
    network, (images, targets) = convolutional(), batch()
    soft = F.one_hot(targets, 3).float()
    hard, found = (scores(network, images, each) for each in (targets, soft))
    for name in ("snip", "grad_norm", "zico"):
        assert found[name] == pytest.approx(hard[name], rel=1e-3)


def test_naswot_is_the_log_determinant_of_hamming_similarities():
    network, (images, targets) = convolutional().train(), batch(8)
    codes: list[np.ndarray] = []
    x = images
    for layer in copy.deepcopy(network):
        if isinstance(layer, nn.ReLU):
            codes.append((x > 0).flatten(1).numpy())
        x = layer(x)
    bits = np.concatenate(codes, axis=1)
    distance = np.array([[(a != b).sum() for b in bits] for a in bits])
    expected = np.linalg.slogdet((bits.shape[1] - distance).astype(float))[1]
    assert one("naswot", network, images, targets) == pytest.approx(expected, rel=1e-6)


def test_the_code_of_a_silu_is_where_relu_would_switch():
    with_relu = nn.Sequential(nn.Flatten(), nn.Linear(768, 40), nn.ReLU(), nn.Linear(40, 3))
    with_silu = nn.Sequential(*with_relu[:2], nn.SiLU(), with_relu[3])
    found = [one("naswot", network, *batch()) for network in (with_relu, with_silu)]
    assert found[0] == found[1]


def test_images_that_are_equal_have_no_naswot():
    images, targets = batch()
    images[1] = images[0]
    assert math.isnan(one("naswot", convolutional(), images, targets))


@pytest.mark.parametrize("width", [64, 512])
def test_zen_of_gaussian_layers_is_what_their_variances_say(width):
    """Batch norm divides the change by its deviation, and the correction multiplies it again."""
    network = nn.Sequential(
        nn.Conv2d(3, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, 256, 1, bias=False),
        nn.BatchNorm2d(256),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, 3),
    )
    # each output changes by a normal number of variance 0.01^2 * 3 * width before all norms
    expected = math.log(0.01 * math.sqrt(2 / math.pi * 3 * width) * 256 * 8 * 8)
    assert one("zen", network, *batch(side=8)) == pytest.approx(expected, abs=0.25)


def test_zen_knows_neither_weights_nor_links_nor_gates():
    images, targets = batch()
    networks = [made(small()), made(small(), seed=1), made(small(skip="none")), made(small(se=0.0))]
    found = {one("zen", network, images, targets) for network in networks}
    assert len(found) == 1


def test_costs_are_those_of_the_architecture():
    network = zoo("efficientnet_b0")
    found = scores(made(network), *batch(4, side=32), names=["flops", "params"])
    assert found == {"flops": cost(network).flops, "params": cost(network).params}
    assert math.isnan(one("flops", convolutional(), *batch()))


def test_nothing_is_left_behind():
    network, (images, targets) = build(small(), dropout=0.3), batch()
    network.eval().requires_grad_(False)
    network.classifier.train().requires_grad_(True)
    network.conv_stem.weight.grad = torch.ones_like(network.conv_stem.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    flags = [value.requires_grad for value in network.parameters()]
    kept, state = images.clone(), torch.get_rng_state()
    with torch.no_grad():
        found = scores(network, images, targets)
    assert list(found) == list(SCORES)
    assert all(map(math.isfinite, found.values()))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, kept)
    assert not images.requires_grad
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [module.training for module in network.modules()] == modes
    assert [value.requires_grad for value in network.parameters()] == flags
    assert [name for name, value in network.named_parameters() if value.grad is not None] == [
        "conv_stem.weight"
    ]
    assert not any(module._forward_hooks for module in network.modules())


def test_a_score_is_the_same_alone_and_after_others():
    torch.manual_seed(0)
    network, (images, targets) = build(small(), dropout=0.5, drop_path=0.5), batch()
    together = scores(network, images, targets)
    torch.manual_seed(99)
    for name in SCORES:
        assert one(name, network, images, targets) == together[name]


def test_what_is_no_number_is_nan():
    network, (images, targets) = convolutional(), batch()
    nn.init.constant_(network[0].weight, math.nan)
    found = scores(network, images, targets)
    assert all(math.isnan(found[name]) for name in ("synflow", "snip", "grad_norm"))
    assert math.isfinite(found["zen"])


def test_wrong_arguments_are_named():
    network, (images, targets) = convolutional(), batch()
    with pytest.raises(ValueError, match=r"score: 'naswott' is unknown; did you mean naswot\?"):
        scores(network, images, targets, names=["naswott"])
    with pytest.raises(ValueError, match="images: 3 with 3 targets"):
        scores(network, images[:3], targets[:3])
    with pytest.raises(ValueError, match="images: 12 with 11 targets"):
        scores(network, images, targets[:11])
