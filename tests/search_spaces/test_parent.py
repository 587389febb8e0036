"""Spaces of sub-networks of a parent: what is in them, and that their costs are exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.parent import parent_space, resolutions, total_stride
from tests.oracles import trace

PARENTS = (
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "resnet50",
    "mobilenet_v1",
    "mnasnet_a1",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
)


def parent(name: str, side: int = 96) -> Architecture:
    return dataclasses.replace(zoo(name), resolution=side, classes=10)


@pytest.mark.parametrize("name", PARENTS)
def test_costs_by_table_are_those_of_the_networks(name: str) -> None:
    space = parent_space(parent(name))
    genotypes = space.sample(60, np.random.default_rng(0))
    costs = space.costs(genotypes)
    for row, genotype in enumerate(genotypes):
        network = space.decode(genotype)
        assert cost(network) == (costs.flops[row], costs.params[row], costs.activations[row])
        assert (space.encode(network) == genotype).all()


def test_costs_are_those_that_fvcore_counts() -> None:
    space = parent_space(parent("efficientnet_b0", 64))
    for genotype in space.sample(3, np.random.default_rng(1)):
        assert cost(space.decode(genotype)) == trace(space.decode(genotype))


@pytest.mark.parametrize("name", PARENTS)
def test_the_parent_is_the_first_and_the_most_expensive_network(name: str) -> None:
    whole = parent(name)
    space = parent_space(whole)
    first = np.zeros(len(space.choices), np.int8)
    assert space.decode(first) == whole
    assert space.cost_range("flops")[1] == cost(whole).flops
    assert (
        space.costs(space.sample(500, np.random.default_rng(0))).flops <= cost(whole).flops
    ).all()


def test_resolution_is_a_decision() -> None:
    assert resolutions(parent("efficientnet_b0", 96)) == (96, 88, 80, 72, 64, 56, 48, 40, 32)
    assert resolutions(parent("efficientnet_b0", 224))[:4] == (224, 208, 192, 176)
    assert resolutions(parent("efficientnet_b0", 100))[:2] == (100, 96)
    assert resolutions(parent("efficientnet_b0", 32)) == (32,)
    assert total_stride(parent("efficientnet_b0")) == total_stride(parent("resnet50")) == 32
    space = parent_space(parent("efficientnet_b0", 96))
    assert space.resolution == 96
    sides = {space.decode(each).resolution for each in space.sample(200, np.random.default_rng(0))}
    assert sides == set(space.choices["resolution"])


def test_every_option_of_a_stage_is_at_most_the_parents() -> None:
    space = parent_space(parent("efficientnet_b0"))
    assert space.choices["block5_l"] == (4, 3, 2, 1)
    assert space.choices["block5_k"] == (5, 3)
    assert space.choices["block5_e"] == (6, 4, 3, 2)
    assert space.choices["block5_c"] == (192, 144, 96)
    assert space.choices["block5_se"] == (0.25, 0.0)
    assert space.choices["block0_e"] == (1,)  # no expansion is another kind of layer
    assert space.choices["head"] == (1280, 640, 320)
    # with 16 the first layer would have a shortcut, which the parent's has not
    assert space.choices["stem"] == (32, 24)


def test_joined_stages_share_the_decision_on_their_channels() -> None:
    space = parent_space(parent("mobilenetv4_conv_small"))
    assert space.choices["block7_c"] == (128, 96, 64)
    assert not any(f"block{index}_c" in space.choices for index in (8, 9, 10, 11))
    assert space.choices["block8_a"] == (5, 3)
    assert space.choices["block9_a"] == (0,)  # a convolution that is not there stays away
    assert space.choices["block6_k"] == (0,)
    for genotype in space.sample(20, np.random.default_rng(0)):
        stages = space.decode(genotype).stages
        assert len({stage.channels for stage in stages[7:12]}) == 1


def test_children_have_the_shortcuts_of_the_parent() -> None:
    for name in ("efficientnetv2_s", "mnasnet_a1", "efficientnet_b0", "mobilenet_v1"):
        whole = parent(name, 64)
        expected = {
            stage: next(block.skip for block in whole.blocks() if block.stage == stage)
            for stage in range(len(whole.stages))
        }
        space = parent_space(whole)
        for genotype in space.sample(50, np.random.default_rng(0)):
            found = {}
            for block in space.decode(genotype).blocks():
                if block.stage >= 0:
                    found.setdefault(block.stage, block.skip)
            assert found == expected
