"""Shared weights of a space: their slices compute the same as networks built otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import SPACES, space
from search_spaces.network import Network, build
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from train.supernet.weights import child_weights, kinds_of, source_of, supernet

FRAME = {"stem": 8, "head": 24, "resolution": 16, "classes": 3}


def elastic_space() -> StagedSpace:
    """Return a space whose decisions change only sizes, so that one network contains all others."""
    choices = {
        "stem": (8, 4),
        **{f"block{i}_{letter}": options for i in (0, 1) for letter, options in SIZES.items()},
        "head": (24, 16),
    }
    frame = {name: value for name, value in FRAME.items() if name not in choices}
    return StagedSpace("elastic", choices, _stage, frame=frame)


SIZES = {"l": (3, 2, 1), "k": (5, 3), "e": (6, 3), "c": (16, 12)}


def _stage(index: int, own: dict[str, int]) -> Stage:
    return Stage("mbconv", own["l"], own["k"], 2, own["e"], own["c"], se=0.0)


def some(of: SearchSpace, count: int, seed: int = 0) -> list[Architecture]:
    return [of.decode(each) for each in of.sample(count, np.random.default_rng(seed))]


def trained(weights: nn.Module) -> dict[str, torch.Tensor]:
    """Return weights without special values such as 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.3
        for name, value in weights.named_parameters()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_every_network_of_every_space_takes_its_weights_strictly(name: str) -> None:
    the_space = space(name, resolution=32, classes=10, small_images=True, width=0.25)
    tensors = supernet(the_space).tensors()
    for child in some(the_space, 6):
        network = build(child)
        network.load_state_dict(child_weights(tensors, child))  # strict
        assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_network_computes_what_the_masked_supernet_does() -> None:
    the_space = elastic_space()
    tensors = trained(supernet(the_space))
    whole = the_space.decode(np.zeros(len(the_space.choices), np.int8))
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for child in [whole, *some(the_space, 8)]:
        network = build(child)
        network.load_state_dict(child_weights(tensors, child))
        masked = build(whole)
        masked.load_state_dict(child_weights(tensors, whole))
        _mask(masked, child)
        with torch.no_grad():
            expected, found = masked.eval()(images), network.eval()(images)
        assert torch.allclose(found, expected, atol=1e-5), child


@torch.no_grad()
def _mask(whole: Network, child: Architecture) -> None:
    """Set the channels that the child lacks to zero.

    A channel whose batch norm is 0 is 0 after its SiLU, and so is a branch next to a shortcut.
    """

    def keep(norm: nn.Module, count: int) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        norm.weight[count:] = 0
        norm.bias[count:] = 0

    keep(whole.bn1, child.stem)
    keep(whole.bn2, child.head)
    before = child.stem
    for stage, blocks in zip(child.stages, whole.blocks, strict=True):
        for layer, block in enumerate(blocks):
            for norm in (block.bn1, block.bn2):
                keep(norm, before * stage.expand)
            keep(block.bn3, stage.channels if layer < stage.layers else 0)
            border = (block.conv_dw.kernel_size[0] - stage.kernel) // 2
            kept = torch.zeros_like(block.conv_dw.weight)
            inside = slice(border, border + stage.kernel)
            kept[..., inside, inside] = 1
            block.conv_dw.weight *= kept
            before = stage.channels


def test_the_largest_networks_shapes_are_those_of_the_shared_weights() -> None:
    the_space = elastic_space()
    tensors = supernet(the_space).tensors()
    whole = the_space.decode(np.zeros(len(the_space.choices), np.int8))
    kinds = kinds_of(whole)
    own = {source_of(name, kinds): p.shape for name, p in build(whole).named_parameters()}
    # a second kind exists where a layer may keep its channels, which no first layer here does
    assert own == {name: value.shape for name, value in tensors.items()}


def test_other_ops_and_shortcuts_have_weights_of_their_own() -> None:
    the_space = space("mnasnet", resolution=32, classes=10, small_images=True, width=0.25)
    tensors = supernet(the_space).tensors()
    kinds = {name.split(".")[3] for name in tensors if name.startswith("blocks.2.1.")}
    ops = {"conv", "separable", "mbconv"}
    skips = ("none", "identity", "pool")
    active = {f"conv_{skip}_active" for skip in skips}  # after a layer of the same stage
    assert kinds == active | {f"{op}_{skip}_linear" for op in ops - {"conv"} for skip in skips}


def test_branches_beside_a_shortcut_start_at_zero() -> None:
    the_space = elastic_space()
    child = some(the_space, 1)[0]
    child = dataclasses.replace(
        child, stages=tuple(dataclasses.replace(stage, layers=2) for stage in child.stages)
    )
    network = build(child)
    network.load_state_dict(child_weights(supernet(the_space).tensors(), child))
    for first, second in network.blocks:
        assert float(first.bn3.weight.detach().abs().min()) == 1
        assert float(second.bn3.weight.detach().abs().max()) == 0


def test_a_network_of_another_space_is_refused_naming_the_part() -> None:
    tensors = supernet(elastic_space()).tensors()
    child = some(elastic_space(), 1)[0]
    with pytest.raises(ValueError, match=r"its conv_stem\.weight is \[9, 3, 3, 3\], larger than"):
        child_weights(tensors, dataclasses.replace(child, stem=9))
    fused = tuple(dataclasses.replace(stage, op="fused") for stage in child.stages)
    with pytest.raises(ValueError, match=r"its blocks\.0\.0\.conv_exp\.weight is not in"):
        child_weights(tensors, dataclasses.replace(child, stages=fused))


def test_a_space_that_is_not_made_of_stages_is_refused() -> None:
    def decode(choices: dict[str, int]) -> Architecture:
        return Architecture(stem=choices["stem"], stages=(Stage("conv", 1, 3, 1, 1, 8),), head=8)

    plain = SearchSpace("plain", {"stem": (8, 16)}, decode)
    with pytest.raises(ValueError, match="'plain' cannot share weights: it is not made of stages"):
        supernet(plain)


def test_resolutions_and_strides_share_all_weights() -> None:
    choices: dict[str, Sequence[int]] = {"resolution": (16, 24), "block0_s": (1, 2)}

    def stage_of(index: int, own: dict[str, int]) -> Stage:
        return Stage("conv", 2, 3, own["s"], 1, 16, se=0.0)

    frame = {"stem": 8, "head": 8, "classes": 3}
    the_space = StagedSpace("sides", choices, stage_of, frame=frame)
    tensors = supernet(the_space).tensors()
    assert {name.split(".")[3] for name in tensors if name.startswith("blocks.0.0.")} == {
        "conv_none_active"
    }
    for child in some(the_space, 4):
        build(child).load_state_dict(child_weights(tensors, child))
