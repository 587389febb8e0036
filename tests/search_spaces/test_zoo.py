"""The zoo against timm's definitions and the papers' tables."""

import dataclasses
import json
import subprocess
import sys

import pytest
import timm
import torch

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.loading import load
from search_spaces.network import build
from search_spaces.zoo import NETWORKS

SAME_AS = {
    "mobilenet_v1": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    "mnasnet_a1": "semnasnet_100",
    "mnasnet_b1": "mnasnet_100",
}
# timm's ResNet has its own parameter names: test_network.py maps them. The largest repeat the
# layers of the smaller ones, and their golden costs stand in test_cost.py.
IN_TIMM = [
    name
    for name, network in NETWORKS.items()
    if timm.is_model(name)
    and name not in (*SAME_AS, "resnet50")
    and cost(network()).params < 25_000_000
]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_survives_json(name):
    architecture = NETWORKS[name]()
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert architecture == NETWORKS[name]()


@pytest.mark.parametrize(("alias", "name"), SAME_AS.items())
def test_papers_names_mean_timms(alias, name):
    assert NETWORKS[alias]() == NETWORKS[name]()


@pytest.mark.parametrize("name", IN_TIMM)
def test_every_name_has_timms_tensors_and_conventions(name):
    architecture = NETWORKS[name]()
    with torch.device("meta"):
        ours, theirs = build(architecture), timm.create_model(name)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert {key: tensor.shape for key, tensor in mine.items()} == {
        key: tensor.shape for key, tensor in other.items()
    }
    assert theirs.bn1.eps == architecture.bn_eps
    strided = type(theirs.conv_stem).__name__
    assert strided == ("Conv2dSame" if architecture.padding == "same" else "Conv2d")


@pytest.mark.parametrize("name", [name for name in NETWORKS if "tf_" + name in NETWORKS])
def test_tensorflows_conventions_change_no_cost(name):
    ours, googles = NETWORKS[name](), NETWORKS["tf_" + name]()
    assert cost(ours) == cost(googles)
    assert (ours.padding, ours.bn_eps, ours.bn_momentum) == ("symmetric", 1e-5, 0.1)
    assert (googles.padding, googles.bn_eps) == ("same", 1e-3)
    assert googles.bn_momentum == (0.1 if "v2" in name else 0.01)


@pytest.mark.parametrize(
    ("name", "params", "flops"),
    # millions and billions as printed: Tan & Le 2019 table 2, Tan & Le 2021 table 7, Xie et al.
    # 2020 (L2), Tan et al. 2019 table 1, Sandler et al. 2018 table 4, Howard et al. 2017 table 8
    [
        ("efficientnet_b0", 5.3, 0.39),
        ("efficientnet_b3", 12, 1.8),
        ("efficientnet_b7", 66, 37),
        ("efficientnet_l2", 480, None),
        ("efficientnetv2_s", 22, 8.8),
        ("efficientnetv2_m", 54, 24),
        ("efficientnetv2_l", 120, 53),
        ("mnasnet_a1", 3.9, 0.312),
        ("mobilenet_v2", 3.4, 0.300),
        ("mobilenet_v1", 4.2, 0.569),
    ],
)
def test_papers_tables(name, params, flops):
    found = cost(NETWORKS[name]())
    assert found.params / 1e6 == pytest.approx(params, rel=0.04)
    if flops:
        assert found.flops / 1e9 == pytest.approx(flops, rel=0.06)


def test_importing_the_zoo_imports_no_framework():
    program = (
        "import sys, json, search_spaces.zoo;"
        "print(json.dumps([name for name in ('torch', 'numpy', 'timm') if name in sys.modules]))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []


def test_a_caller_cannot_change_the_zoo():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NETWORKS["efficientnet_b0"]().stem = 1


def test_loading_names_a_file_that_it_can_read(tmp_path):
    network = NETWORKS["mobilenet_v2"]()
    fields = json.loads(network.to_json())
    for folder, name, content in (
        ("search", "best.json", {"architecture": fields}),
        ("training", "run.json", {"training": {"architecture": fields}}),
        ("family", "2M.json", fields),
        ("none", "other.json", {"x": 1}),
    ):
        place = tmp_path / folder
        place.mkdir()
        (place / name).write_text(json.dumps(content))
        for text in (str(place), str(place / "best.safetensors")):
            (place / "best.safetensors").write_bytes(b"")
            with pytest.raises(ValueError, match=r"is a folder|holds weights") as caught:
                load(text)
            if folder == "none":
                assert str(caught.value).endswith(f"({place} contains none)")
            else:
                assert str(caught.value).endswith(f"such as {place / name}")
                assert load(str(place / name)) == network
