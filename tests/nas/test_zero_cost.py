"""Scores without training against their published definitions, and how they are ranked."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from nas.evaluators import zero_cost
from nas.evaluators.zero_cost import ZeroCost, first_batch, percentiles
from nas.evaluators.zero_cost_scores import SCORES, scores
from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.network import build
from search_spaces.space import SearchSpace
from tests.nas.toys import tiny_space
from tests.train import toys
from train.augment import Draws, Preparation, finish, frame


def batch(count: int = 12, side: int = 16, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, side, side, generator=generator)
    return images, torch.randint(classes, (count,), generator=generator)


def convolutional(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), activation(),
        nn.Conv2d(8, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), activation(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def small(**changes: Any) -> Architecture:
    stage = {"op": "mbconv", "layers": 2, "kernel": 3, "stride": 1, "expand": 2, "channels": 8}
    frame_of = {"stem": 8, "head": 16, "resolution": 16, "classes": 3}
    frame_of |= {name: changes.pop(name) for name in list(changes) if name in frame_of}
    return Architecture(stages=(Stage(**(stage | changes)),), **frame_of)


def made(architecture: Architecture, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(architecture)


def one(name: str, network: nn.Module, images: Tensor, targets: Tensor) -> float:
    return scores(network, images, targets, names=[name])[name]


# --- synflow


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
        one(name, made(small(channels=width, stem=width)), images, targets)
        for width in (4, 16, 64)
    ]  # fmt: skip
    assert found == sorted(found)
    assert found[0] < found[2]


# --- the loss's gradients


def gradients(network: nn.Module, images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Kernels and their gradients, by `backward`."""
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


# --- codes and perturbations


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
    """Batch norm divides the change by its deviation, the correction multiplies it again."""
    network = nn.Sequential(
        nn.Conv2d(3, width, 1, bias=False), nn.BatchNorm2d(width),
        nn.Conv2d(width, 256, 1, bias=False), nn.BatchNorm2d(256),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 3),
    )  # fmt: skip
    # each output changes by a normal number of variance 0.01^2 * 3 * width before all norms
    expected = math.log(0.01 * math.sqrt(2 / math.pi * 3 * width) * 256 * 8 * 8)
    assert one("zen", network, *batch(side=8)) == pytest.approx(expected, abs=0.25)


def test_zen_knows_neither_weights_nor_links_nor_gates():
    images, targets = batch()
    networks = [
        made(small()), made(small(), seed=1), made(small(skip="none")), made(small(se=0.0))
    ]  # fmt: skip
    found = {one("zen", network, images, targets) for network in networks}
    assert len(found) == 1


# --- costs, and manners


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


# --- percentiles


def test_percentiles_are_the_middles_of_ranks():
    reference = np.array([30.0, 10.0, 20.0, 40.0])
    assert percentiles(reference, reference).tolist() == [62.5, 12.5, 37.5, 87.5]
    assert percentiles(np.array([25.0, np.nan]), reference)[0] == 50
    repeated = np.array([1.0, 2.0, 2.0, 3.0, np.nan])
    ranks = [stats.percentileofscore([1, 2, 2, 3], value, "mean") for value in (1, 2, 3)]
    assert percentiles(np.array([1.0, 2.0, 3.0]), repeated).tolist() == ranks
    assert np.isnan(percentiles(np.array([np.nan]), reference)).all()


def test_percentiles_know_ranks_and_not_values():
    reference = np.random.default_rng(0).normal(size=50)
    assert np.allclose(
        percentiles(reference, reference), percentiles(np.exp(reference), np.exp(reference))
    )


def test_percentiles_still_rise_beyond_the_reference():
    reference = np.random.default_rng(0).normal(size=50)
    found = percentiles(np.linspace(-8, 8, 100), reference)
    assert np.all(np.diff(found) > 0)
    assert 0 < found[0] < 1
    assert 99 < found[-1] < 100


def test_percentiles_among_equal_ones():
    assert percentiles(np.array([4.0, 5.0, 6.0]), np.full(9, 5.0))[1] == 50


# --- the evaluator


def spread(**settings: Any) -> SearchSpace:
    choices = {"channels": (4, 8, 16, 24), "layers": (1, 2), "kernel": (3, 5), "expand": (1, 2, 4)}
    return SearchSpace("small", choices, lambda chosen: small(**chosen, **settings))


def evaluator(**options: Any) -> ZeroCost:
    return ZeroCost(*batch(), **({"reference": 5} | options))


def test_answers_are_mean_percentiles_among_the_reference():
    space, judge = spread(), evaluator(scores=("params", "synflow"), reference=8, seed=3)
    reference = space.sample(8, np.random.default_rng(3))
    names, values = judge.features(space, reference)
    assert names == ("params", "synflow")
    assert values[:, 0].tolist() == space.costs(reference).params.tolist()
    found = judge.evaluate(space, reference)
    ranks = [[stats.percentileofscore(column, value, "mean") for value in column]
             for column in values.T]  # fmt: skip
    assert found.accuracy == pytest.approx(np.mean(ranks, axis=0))
    assert found.accuracy.mean() == pytest.approx(50)
    assert not any(found.error)
    assert "not an accuracy" in judge.unit


def test_answers_do_not_depend_on_order_or_company():
    space = spread()
    genotypes = space.sample(4, np.random.default_rng(0))
    together = evaluator().evaluate(space, genotypes).accuracy
    judge = pickle.loads(pickle.dumps(evaluator()))
    torch.manual_seed(17)
    alone = [judge.evaluate(space, row[None]).accuracy[0] for row in genotypes[::-1]]
    assert alone[::-1] == together.tolist()


def test_the_largest_network_beats_the_smallest():
    space = spread()
    ends = np.stack([np.zeros(4, np.int8), (space.option_counts - 1).astype(np.int8)])
    low, high = evaluator(scores=tuple(SCORES)).evaluate(space, ends).accuracy
    assert 0 < low < 50 < high < 100


def test_a_known_network_is_not_scored_again(monkeypatch):
    space, judge = spread(), evaluator()
    genotypes = space.sample(3, np.random.default_rng(0))
    first = judge.evaluate(space, genotypes)
    monkeypatch.setattr(zero_cost, "scores", None)
    again = judge.evaluate(spread(), genotypes)
    assert again.accuracy.tolist() == first.accuracy.tolist()
    assert again.seconds.tolist() == first.seconds.tolist()


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried ..."), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("mat1 and mat2\ncannot"), "RuntimeError: mat1 and mat2"),
    ],
)
def test_a_network_that_fails_is_a_row_with_its_reason(monkeypatch, problem, reason):
    def fragile(architecture: Architecture) -> nn.Module:
        if architecture.stages[0].channels == 24:
            raise problem
        return build(architecture)

    monkeypatch.setattr(zero_cost, "build", fragile)
    space, judge = spread(), evaluator(scores=("params", "naswot"))
    genotypes = np.array([[3, 0, 0, 1], [1, 0, 0, 1]], np.int8)
    found = judge.evaluate(space, genotypes)
    assert found.error.tolist() == [reason, ""]
    assert np.isnan(found.accuracy).tolist() == [True, False]
    _, values = judge.features(space, genotypes)
    assert np.isnan(values).tolist() == [[True, True], [False, False]]


def test_a_score_that_is_no_number_fails_the_network():
    images, targets = batch()
    images[1] = images[0]
    judge = ZeroCost(images, targets, scores=("params", "naswot"), reference=3)
    with pytest.raises(ValueError, match=r"no random network has a naswot \(naswot is not a num"):
        judge.evaluate(spread(), np.zeros((1, 4), np.int8))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (tiny_space(), "space 'tiny' decodes to tuple, which is no Architecture"),
        (spread(classes=2), "have 2 classes, but target 2 is among"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        evaluator().check(space)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ("naswot", "naswot")}, "each once"),
        ({"scores": ()}, "use one or more"),
        ({"scores": ("accuracy",)}, "score: 'accuracy' is unknown"),
        ({"reference": 1}, "reference: 1 is not allowed"),
        ({"images": torch.zeros(3, 3, 8, 8)}, "images: torch.float32 .3, 3, 8, 8. is not"),
        ({"images": torch.zeros(8, 3, 8, 8).byte()}, "images: torch.uint8"),
        ({"targets": torch.full((12,), -1)}, "targets: -1 is not a class"),
        ({"targets": torch.zeros(5)}, "use one for each of the 12 images"),
    ],
)
def test_wrong_settings_are_named(options, message):
    images, targets = batch()
    given = {"images": images, "targets": targets} | options
    with pytest.raises(ValueError, match=message):
        ZeroCost(given.pop("images"), given.pop("targets"), **given)


def test_the_first_batch_is_what_evaluation_sees():
    data, recipe = toys.data(), toys.recipe("eval_crop=0.875")
    images, targets = first_batch(data, recipe, size=12, count=10, seed=4)
    chosen = np.random.default_rng(4).permutation(96)[:10]
    how = Preparation(size=12, crop_share=0.875)
    draws = Draws(0, np.arange(10))
    expected = finish(frame(data.train.pixels.images[chosen], how, draws), how, draws)
    assert torch.equal(images, expected)
    assert targets.tolist() == data.train.targets[chosen].tolist()
    assert len(first_batch(data, recipe, size=16)[0]) == 64
    assert len(first_batch(data, recipe, size=16, count=500)[0]) == 96
    with pytest.raises(ValueError, match="count: 3 is not allowed"):
        first_batch(data, recipe, size=16, count=3)
