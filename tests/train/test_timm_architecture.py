"""Architectures of timm's networks compute the same as timm; unknown parts are refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import timm
import torch
from torch import nn

from search_spaces.zoo import NETWORKS
from tests.oracles import random_architecture
from tests.search_spaces.test_network import randomise
from tests.train.test_export import PLAIN
from tests.train.test_parents import check_same_function
from train.export.block_strings import timm_description, timm_network
from train.parents import Parent
from train.timm_architecture import derived_architecture
from train.timm_source import architecture_of, shapes

# every block type, activation and padding; stages that are split; no head, other classes
REPRESENTATIVE = [
    "efficientnet_b0",
    "efficientnet_es_pruned",
    "efficientnetv2_rw_t",
    "tf_efficientnetv2_b0",
    "tf_efficientnet_lite0",
    "tf_efficientnet_em",
    "mobilenetv1_100",
    "mobilenetv2_050",
    "mobilenetv2_110d",
    "mobilenet_edgetpu_100",
    "mnasnet_small",
    "semnasnet_075",
    "spnasnet_100",
    "tinynet_e",
    "test_efficientnet",
    "mobilenetv3_large_100",
    "tf_mobilenetv3_small_minimal_100",
    "lcnet_050",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
]
EVERY = [*timm.list_models(module="efficientnet"), *timm.list_models(module="mobilenetv3")]
# by what an Architecture has no field for
INEXPRESSIBLE = [
    "*_gn",
    "*_evos",
    "*_ln",
    "*_cc_*",
    "*_blur_*",
    "efficientnet_b*_pruned",
    "efficientnet_[hx]_*",
    "efficientnetv2_rw_[ms]",
    "gc_*",
    "fbnetc_*",
    "*mixnet_*",
    "mobilenet_edgetpu_v2_*",
    "fbnetv3_*",
    "lcnet_035",
    "mobilenetv3_rw",
    "mobilenetv4_conv_aa_*",
    "mobilenetv4_hybrid_*",
]


def derived(theirs: nn.Module, resolution: int = 64) -> Parent:
    architecture = derived_architecture(theirs, resolution=resolution)
    return Parent("", architecture, theirs.state_dict(), None, None, None)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_timms_networks_compute_the_same_here(name):
    torch.manual_seed(0)
    theirs = randomise(timm.create_model(name))
    parent = derived(theirs)
    check_same_function(theirs, parent)
    assert parent.architecture.classes == 1000
    assert parent.architecture.resolution == 64


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_every_network_of_timm_computes_the_same_or_is_refused(name):
    torch.manual_seed(0)
    if name in timm.list_models(INEXPRESSIBLE):
        with pytest.raises(ValueError, match="an Architecture can"):
            derived_architecture(shapes(name), resolution=224)
        return
    theirs = randomise(timm.create_model(name))
    check_same_function(theirs, derived(theirs))


@pytest.mark.parametrize("name", sorted(set(NETWORKS) & set(timm.list_models())))
def test_a_network_of_the_zoo_is_found_to_be_that(name):
    published = NETWORKS[name]()
    assert architecture_of(name, shapes(name), published.resolution) == published


@pytest.mark.slow
def test_random_networks_survive_timm_and_back():
    rng, count = np.random.default_rng(0), 0
    for _ in range(1500):
        architecture = dataclasses.replace(random_architecture(rng), stem_pool=False)
        try:
            description = timm_description(architecture)
        except ValueError:
            continue
        theirs = timm_network(json.loads(json.dumps(description)))
        check_same_function(randomise(theirs), derived(theirs, 112), side=112)
        count += 1
    assert count >= 15


def test_a_stage_of_timm_whose_blocks_differ_becomes_several():
    theirs = shapes("mobilenet_edgetpu_100")
    architecture = derived_architecture(theirs, resolution=224)
    assert len(theirs.blocks) == 7
    assert [stage.expand for stage in architecture.stages[:3]] == [1, 8, 4]
    assert [stage.joined for stage in architecture.stages[:4]] == [False, False, True, False]
    assert architecture.places()[:4] == ((0, 0), (1, 0), (1, 1), (2, 0))


@pytest.mark.parametrize("ratio", [0.25, 0.3, 0.04, 1 / 24, 0.9])
def test_squeeze_and_excitation_of_any_ratio(ratio):
    strings = [[f"ir_r2_k3_s2_e3_c40_se{ratio}"], [f"ds_r1_k3_s1_c24_se{ratio}"]]
    theirs = timm_network(
        {**timm_description(dataclasses.replace(PLAIN, stem=48)), "arch_def": strings}
    )
    architecture = derived_architecture(theirs, resolution=33)
    squeezed = [block.se_channels for block in architecture.blocks() if block.stage >= 0]
    modules = [block.se for stage in theirs.blocks for block in stage]
    assert squeezed == [module.conv_reduce.out_channels for module in modules]
    check_same_function(randomise(theirs), derived(theirs))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobilenetv4_hybrid_medium", r"blocks\.1\.0\.layer_scale: its LayerScale2d"),
        ("mobilenetv4_conv_aa_large", r"blocks\.0\.0\.aa: its AvgPool2d"),
        ("fbnetv3_b", r"blocks\..*\.se: its activation hard_swish with a gate hard_sigmoid"),
    ],
)
def test_what_mobilenets_of_timm_have_beside_that_is_refused(name, said):
    with pytest.raises(ValueError, match=rf"^{said}, which an Architecture cannot express$"):
        derived_architecture(shapes(name), resolution=224)


class _Odd(nn.Conv2d):
    """A module that replaces one of timm's."""


def _strange(model: nn.Module, what: str) -> None:
    block = model.blocks[1][1]
    if what == "dilation":
        block.conv_dw.dilation = (2, 2)
    elif what == "eps":
        block.bn2.eps = 0.01
    elif what == "padding":
        model.blocks[2][0].conv_dw.padding = (0, 0)
    elif what == "kind":
        block.conv_pw = _Odd(1, 1, 1)
    elif what == "part":
        block.extra = nn.Conv2d(1, 1, 1)
    elif what == "top":
        model.extra = nn.Conv2d(1, 1, 1)
    elif what == "pool":
        model.global_pool.pool_type = "max"
    elif what == "squeezed":
        block.se.conv_reduce = nn.Conv2d(144, 30, 1)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("dilation", r"blocks.1.1.conv_dw: its dilation \(2, 2\)"),
        ("eps", "blocks.1.1.bn2: its batch norm's eps changes from 1e-05 to 0.01"),
        ("padding", r"blocks.2.0.conv_dw: its padding \(0, 0\)"),
        ("kind", "blocks.1.1.conv_pw: its _Odd"),
        ("part", "blocks.1.1.extra: its Conv2d"),
        ("top", "network.extra: its Conv2d"),
        ("pool", "global_pool: "),
        ("squeezed", "blocks.1.1.se: its 30 channels where the block has 24"),
    ],
)
def test_networks_that_timm_may_have_one_day_are_not_guessed(what, said):
    model = shapes("efficientnet_b0")
    with torch.device("meta"):
        _strange(model, what)
    with pytest.raises(ValueError, match=rf"^{said}.*an Architecture cannot express$"):
        derived_architecture(model, resolution=224)
