"""cost() against fvcore's trace, `numel()` and the published networks' golden numbers."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture, Stage
from search_spaces.cost import Cost, Costs, blocks_cost, cost, layers_of
from search_spaces.network import build
from search_spaces.zoo import NETWORKS
from tests.oracles import random_architecture, trace

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "costs.json").read_text())["models"]
QUICK = [name for name in GOLDEN if GOLDEN[name]["flops"] < 5e8]
# with their depth, larger siblings repeat the same layers: nothing new to see, a long trace
MEDIUM = [name for name in GOLDEN if GOLDEN[name]["flops"] < 2e9]


@pytest.mark.parametrize("name", GOLDEN)
def test_published_networks_cost_what_was_measured(name):
    network = NETWORKS[name]()
    measured = GOLDEN[name]
    assert network.resolution == measured["resolution"]
    assert cost(network)[:2] == (measured["flops"], measured["params"])


@pytest.mark.parametrize("name", GOLDEN)
def test_params_and_activations_of_published_networks_equal_their_modules(name):
    architecture = NETWORKS[name]()
    with torch.device("meta"):  # shapes without numbers: V2-XL takes a second
        network = build(architecture).eval()
        images = torch.empty(1, 3, architecture.resolution, architecture.resolution)
    elements = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda *call: elements.append(call[-1].numel()))
    network(images)
    params = sum(parameter.numel() for parameter in network.parameters())
    assert (params, sum(elements)) == cost(architecture)[1:]


@pytest.mark.parametrize("name", QUICK)
def test_cost_equals_a_trace_at_the_published_resolution(name):
    architecture = NETWORKS[name]()
    assert cost(architecture) == trace(architecture)


@pytest.mark.parametrize("name", MEDIUM)
def test_cost_equals_a_trace_at_an_odd_resolution(name):
    architecture = dataclasses.replace(NETWORKS[name](), resolution=75)
    assert cost(architecture) == trace(architecture)


@pytest.mark.parametrize("seed", range(20))
def test_cost_equals_a_trace_of_random_networks(seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        architecture = random_architecture(rng)
        assert cost(architecture) == trace(architecture), architecture.to_json()


def test_random_networks_cover_every_operation_with_every_skip():
    rng = np.random.default_rng(0)
    blocks = {
        (block.op, block.skip)
        for _ in range(300)
        for block in random_architecture(rng).blocks()
        if block.stage >= 0
    }
    ops = ("conv", "dwsep", "mbconv", "fused", "bottleneck", "uib")
    assert blocks >= {(op, skip) for op in ops for skip in ("identity", "none", "pool", "project")}


def test_a_convolution_by_hand():
    architecture = Architecture(4, (Stage("conv", 1, 3, 2, 1, 6, 0.5),), 0, resolution=9, classes=2)
    # stem 3 -> 4 at 5 px; SE 4 -> 2 -> 4; convolution 4 -> 6 at 3 px; classifier 6 -> 2
    assert cost(architecture) == Cost(
        flops=3 * 4 * 9 * 25 + 2 * 4 * 2 + 4 * 6 * 9 * 9 + 6 * 2,
        params=(108 + 8) + (8 + 2) + (8 + 4) + (216 + 12) + (12 + 2),
        activations=4 * 25 + 2 + 4 + 6 * 9 + 2,
    )


def test_cost_is_the_sum_of_its_blocks_and_layers():
    blocks = list(NETWORKS["efficientnet_b0"]().blocks())
    parts = [blocks_cost([block]) for block in blocks]
    assert tuple(map(sum, zip(*parts, strict=True))) == cost(NETWORKS["efficientnet_b0"]())
    assert sum(len(list(layers_of(block))) for block in blocks) == 82  # convolutions and linear


def test_costs_are_picked_by_row():
    table = Costs(*np.arange(9).reshape(3, 3))
    assert len(table) == 3
    assert table[table.params > 3].activations.tolist() == [7, 8]


def test_measured_costs_stand_beside_the_exact_ones():
    table = Costs(*np.arange(9).reshape(3, 3), extra={"latency": np.array([0.1, 0.2, 0.3])})
    assert table[1:].get("latency").tolist() == [0.2, 0.3]
    assert table.get("params") is table.params
    with pytest.raises(ValueError, match=r"'energy' is unknown here; use one of flops, .*latency"):
        table.get("energy")
    with pytest.raises(ValueError, match="to add step_time, use"):
        Costs(*np.arange(9).reshape(3, 3)).get("step_time")
