"""Architecture as data: JSON, unrolling, and what it refuses."""

import dataclasses
import json
import math

import numpy as np
import pytest

from search_spaces.architecture import Architecture, Stage
from search_spaces.zoo import NETWORKS
from tests.oracles import random_architecture

ROW = {"op": "mbconv", "layers": 2, "kernel": 3, "stride": 2, "expand": 6, "channels": 24}
NET = {"stem": 16, "stages": [ROW], "head": 64}


def net(**changes):
    return json.dumps({**NET, **changes})


def row(**changes):
    return net(stages=[ROW, {**ROW, **changes}])


def test_json_round_trips_to_an_equal_object():
    rng = np.random.default_rng(0)
    for _ in range(200):
        architecture = random_architecture(rng)
        again = Architecture.from_json(architecture.to_json())
        assert again == architecture
        assert hash(again) == hash(architecture)
        assert again.key == architecture.key
        assert again.to_json() == architecture.to_json()


def test_missing_optional_fields_take_their_defaults():
    architecture = Architecture.from_json(json.dumps(NET))
    assert architecture == Architecture(16, (Stage("mbconv", 2, 3, 2, 6, 24),), 64)
    assert Architecture.from_dict(NET) == architecture


def test_whole_numbers_serve_as_ratios_and_lists_as_stages():
    stage = Stage("mbconv", 1, 3, 1, 6, 24, se=0)
    architecture = Architecture(16, [stage], 0)
    assert architecture == Architecture(16, (Stage("mbconv", 1, 3, 1, 6, 24, 0.0),), 0)
    assert architecture.key == Architecture.from_json(architecture.to_json()).key


def test_keys_distinguish_every_field():
    base = NETWORKS["efficientnet_b0"]()
    changes = {
        "stem": 24,
        "head": 0,
        "resolution": 225,
        "classes": 10,
        "in_channels": 1,
        "stem_kernel": 5,
        "stem_stride": 1,
        "stem_pool": True,
        "activation": "relu",
        "padding": "same",
        "bn_eps": 1e-3,
        "bn_momentum": 0.01,
        "head_form": "pooled",
        "stages": base.stages[:-1],
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Architecture)}
    keys = {dataclasses.replace(base, **{name: value}).key for name, value in changes.items()}
    assert len(keys | {base.key}) == len(changes) + 1
    assert len(base.key) == 12
    assert int(base.key, 16) >= 0


def test_fields_that_are_not_used_are_not_stored():
    b0 = NETWORKS["efficientnet_b0"]()
    assert b0.key == "59695d072991"  # as before there were these fields
    for name in ("start_kernel", "gate", "joined", "head_form"):
        assert name not in b0.to_json()
    assert "activation" not in b0.to_dict()["stages"][0]
    small = NETWORKS["mobilenetv4_conv_small"]()
    assert small.to_dict()["head_form"] == "pooled_norm"
    assert small.to_dict()["stages"][4]["start_kernel"] == 5
    keys = {
        dataclasses.replace(b0, stages=(dataclasses.replace(b0.stages[0], **change),)).key
        for change in ({}, {"activation": "relu"}, {"gate": "hard_sigmoid"})
    }
    assert len(keys) == 3


def test_fractional_expansions_are_rounded_as_in_mobilenetv3():
    stages = (Stage("mbconv", 1, 3, 1, 3.67, 24, 0.25, gate="hard_sigmoid"),)
    block = list(Architecture(24, stages, 0).blocks())[1]
    assert (block.mid_channels, block.se_channels) == (88, 24)
    assert Stage("mbconv", 1, 3, 1, 6.0, 24) == Stage("mbconv", 1, 3, 1, 6, 24)
    assert isinstance(Stage("mbconv", 1, 3, 1, 6.0, 24).expand, int)


def test_joined_stages_stand_behind_those_before_them():
    small = NETWORKS["mobilenetv4_conv_small"]()
    assert small.places()[:7] == ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (2, 5))
    plain = dataclasses.replace(
        small, stages=tuple(dataclasses.replace(stage, joined=False) for stage in small.stages)
    )
    assert plain.places() == tuple((index, 0) for index in range(len(small.stages)))
    assert list(plain.blocks()) == list(small.blocks())


def test_architectures_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NETWORKS["efficientnet_b0"]().stages[0].layers = 2


def test_stages_unroll_to_blocks_with_every_number_resolved():
    stages = (
        Stage("fused", 1, 3, 2, 1, 16, 0.25),
        Stage("bottleneck", 2, 3, 2, 4, 64, 0.0, "project"),
        Stage("mbconv", 2, 5, 1, 6, 24, 0.25),
    )
    network = Architecture(10, stages, 40, resolution=75, stem_pool=True, classes=7)
    blocks = list(network.blocks())
    assert [(b.op, b.stage, b.stride, b.in_size, b.out_size) for b in blocks] == [
        ("stem", -1, 2, 75, 38),
        ("max_pool", -1, 2, 38, 19),
        ("conv", 0, 2, 19, 10),  # fused without expansion
        ("bottleneck", 1, 2, 10, 5),
        ("bottleneck", 1, 1, 5, 5),
        ("mbconv", 2, 1, 5, 5),
        ("mbconv", 2, 1, 5, 5),
        ("head", -1, 1, 5, 5),
        ("classifier", -1, 1, 1, 1),
    ]
    widths = [(b.in_channels, b.mid_channels, b.out_channels, b.se_channels) for b in blocks]
    assert widths == [
        (3, 3, 10, 0),
        (10, 10, 10, 0),
        (10, 10, 16, 2),
        (16, 16, 64, 0),
        (64, 16, 64, 0),
        (64, 384, 24, 16),
        (24, 144, 24, 6),
        (24, 24, 40, 0),
        (40, 40, 7, 0),
    ]
    skips = [b.skip for b in blocks if b.stage >= 0]
    assert skips == ["none", "project", "identity", "none", "identity"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (net(sauce=1), "sauce: unknown field; use one of stem, stages, head"),
        (row(sauce=1), r"stages\[1\].sauce: unknown field; use one of op, layers, kernel"),
        (json.dumps({"stages": [ROW], "head": 1}), "stem: this field is missing"),
        (net(stages=[{"op": "conv"}]), r"stages\[0\].layers: this field is missing"),
        (net(stages=[]), r"stages: \(\) must be a list of at least one"),
        (net(stages=ROW), "stages: {.*} is not a list"),
        (net(stages=None), "stages: None is not a list"),
        (net(stages=[7]), r"stages\[0\].stage: 7 is not a JSON object"),
        ("[]", r"architecture: \[\] is not a JSON object"),
        ("stem 16", "architecture: cannot be read as JSON"),
        ("[" * 100_000, "architecture: cannot be read as JSON"),
        (row(op="cnov"), r"stages\[1\].op: 'cnov' is not allowed; use one of conv, dwsep"),
        (row(op=["conv"]), r"stages\[1\].op: \['conv'\] is not allowed"),
        (row(kernel=4), r"stages\[1\].kernel: 4 is not allowed; use an odd number"),
        (row(kernel=3.0), r"stages\[1\].kernel: 3.0 is not allowed; use a whole number"),
        (row(kernel="3"), r"stages\[1\].kernel: '3' is not allowed"),
        (row(stride=0), r"stages\[1\].stride: 0 is not allowed; use a whole number from 1"),
        (row(stride=3), r"stages\[1\].stride: 3 is not allowed; use 1 or 2"),
        (row(stride=True), r"stages\[1\].stride: True is not allowed"),
        (row(layers=0), r"stages\[1\].layers: 0 is not allowed"),
        (row(layers=10**9), r"stages\[1\].layers: 1000000000 is not allowed; .* to 1000"),
        (row(expand=0), r"stages\[1\].expand: 0 is not allowed"),
        (row(expand=0.5), r"stages\[1\].expand: 0.5 is not allowed; use a number from 1"),
        (row(op="conv", expand=1.5), r"stages\[1\].expand: 1.5 is not allowed; use a whole"),
        (row(kernel=0), r"stages\[1\].kernel: 0 is not allowed"),
        (row(op="uib", kernel=4), r"stages\[1\].kernel: 4 is not allowed; use an odd number"),
        (row(op="uib", kernel=False), r"stages\[1\].kernel: False is not allowed"),
        (row(op="uib", kernel=0), r"stages\[1\].stride: 2 is not allowed in a uib without a dep"),
        (
            row(start_kernel=3),
            r"stages\[1\].start_kernel: 3 is not allowed with op 'mbconv'; use 0",
        ),
        (row(op="uib", start_kernel=2), r"stages\[1\].start_kernel: 2 is not allowed; use an odd"),
        (row(activation="gelu"), r"stages\[1\].activation: 'gelu' is not allowed; use one of silu"),
        (row(gate="tanh"), r"stages\[1\].gate: 'tanh' is not allowed; use one of sigmoid, hard_s"),
        (row(joined=1), r"stages\[1\].joined: 1 is not true or false"),
        (net(stages=[{**ROW, "joined": True}]), r"stages\[0\].joined: true is not allowed"),
        (net(head_form="late"), "head_form: 'late' is not allowed; use one of spatial, pooled"),
        (net(head=0, head_form="pooled"), "head_form: 'pooled' is not allowed without a head"),
        (row(channels=-8), r"stages\[1\].channels: -8 is not allowed"),
        (row(se=-0.25), r"stages\[1\].se: -0.25 is not allowed; use a number from 0"),
        (row(se=math.nan), r"architecture: .*NaN is not a JSON number"),
        (row(se=math.inf), r"architecture: .*Infinity is not a JSON number"),
        (row(se=True), r"stages\[1\].se: True is not allowed"),
        (row(se=None), r"stages\[1\].se: None is not allowed"),
        (row(skip="yes"), r"stages\[1\].skip: 'yes' is not allowed; use one of identity, none"),
        (row(op="conv"), r"stages\[1\].expand: 6 is not allowed with op 'conv'; use 1"),
        (row(op="dwsep"), r"stages\[1\].expand: 6 is not allowed with op 'dwsep'; use 1"),
        (row(op="bottleneck", se=0, channels=25), r"stages\[1\].channels: 25 .* multiple"),
        (row(op="bottleneck"), r"stages\[1\].se: 0.25 is not allowed with op 'bottleneck'"),
        (row(op="identity", expand=1, se=0), r"stages\[1\].stride: 2 is not allowed with op 'id"),
        (
            row(op="identity", expand=1, se=0, stride=1, channels=25),
            r"stages\[1\].channels: 25 is not allowed with op 'identity'; its input has 24",
        ),
        (net(stem=0), "stem: 0 is not allowed; use a whole number from 1"),
        (net(stem=True), "stem: True is not allowed"),
        (net(stem=10**7), "stem: 10000000 is not allowed"),
        (net(head=-1), "head: -1 is not allowed; use a whole number from 0"),
        (net(resolution=0), "resolution: 0 is not allowed"),
        (net(resolution=224.0), "resolution: 224.0 is not allowed"),
        (net(resolution=2), r"resolution: it is too small; before stages\[0\].stride 2 .* 1 px"),
        (net(resolution=1), "resolution: it is too small; before stem_stride 2"),
        (net(resolution=2, stem_pool=True), "resolution: it is too small; before stem_pool 2"),
        (net(classes=0), "classes: 0 is not allowed"),
        (net(in_channels="3"), "in_channels: '3' is not allowed"),
        (net(stem_kernel=2), "stem_kernel: 2 is not allowed; use an odd number"),
        (net(stem_stride=4), "stem_stride: 4 is not allowed; use 1 or 2"),
        (net(stem_pool=1), "stem_pool: 1 is not true or false"),
        (net(activation="swish"), "activation: 'swish' is not allowed; use one of silu, relu"),
        (net(padding=1), "padding: 1 is not allowed; use one of symmetric, same"),
        (net(bn_eps=math.nan), "architecture: .*NaN is not a JSON number"),
        (net(bn_eps="1e-3"), "bn_eps: '1e-3' is not allowed"),
        (net(bn_momentum=2), "bn_momentum: 2 is not allowed; use a number from 0"),
    ],
)
def test_bad_files_are_refused_by_field_value_and_what_is_allowed(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Architecture.from_json(text)


def test_a_stage_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"stages\[0\]: \{'op'.* is not a Stage"):
        Architecture(16, (ROW,), 0)
