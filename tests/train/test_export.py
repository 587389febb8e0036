"""Exports compute the same in timm, onnxruntime and torch; failed exports leave no files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import space, zoo
from search_spaces.network import build
from search_spaces.zoo import NETWORKS
from tests.commands import export
from tests.oracles import random_architecture
from tests.search_spaces.test_network import SMALL, randomise
from tests.train.images import smooth
from train.checkpoint import Weights, read_weights, write_weights
from train.export import ExportConfig, ExportResult, compare, export_network, formats
from train.export.block_strings import block_strings, timm_description, timm_network
from vbs.lock import owned, this_process

ONNX = all(importlib.util.find_spec(name) for name in formats.FORMATS["onnx"].needs)
PLAIN = Architecture(
    stem=8,
    stages=(Stage("mbconv", 2, 3, 1, 1, 8), Stage("mbconv", 2, 5, 2, 4, 16, 0.25)),
    head=24,
    resolution=33,
    classes=5,
    padding="same",
)


def a_run(folder: Path, architecture: Architecture = PLAIN, seed: int = 0) -> Path:
    """The folder of a run whose best network has this architecture and random weights."""
    torch.manual_seed(seed)
    names = tuple(f"class {index}" for index in range(architecture.classes))
    tensors = randomise(build(architecture)).state_dict()
    colours = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    folder.mkdir(exist_ok=True)
    weights = Weights(tensors, architecture, names, *colours, architecture.resolution, 0.9, {})
    write_weights(folder / "best.safetensors", weights)
    return folder


def exported(run: Path, to: str, *, out: str | None = None) -> ExportResult:
    return export_network(ExportConfig(run=str(run), to=to, out=out))


def logits(run: Path, images: torch.Tensor) -> torch.Tensor:
    """Return the logits of the run's network."""
    weights = read_weights(run / "best.safetensors")
    network = build(weights.architecture).eval()
    network.load_state_dict(dict(weights.tensors))
    with torch.no_grad():
        return network(images)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def rebuilt_difference(architecture: Architecture) -> float:
    """Return the largest difference of timm's rebuilt network to ours, relative to the logits."""
    description = json.loads(json.dumps(timm_description(architecture)))
    torch.manual_seed(0)
    ours = randomise(build(architecture)).eval()
    theirs = timm_network(description).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    side = architecture.resolution
    images = noise(2, architecture.in_channels, side, side)
    expected = ours(images)
    # a head whose ReLUs are all dead gives 0
    return float((theirs(images) - expected).abs().max() / expected.abs().max().clamp(min=1e-3))


def test_published_networks_have_timms_strings():
    assert block_strings(zoo("efficientnet_b0"))[:2] == [
        ["ds_r1_k3_s1_c16_se0.25"],
        ["ir_r2_k3_s2_e6_c24_se0.25"],
    ]
    assert block_strings(zoo("efficientnetv2_s"))[0] == ["cn_r2_k3_s1_c24_skip"]
    assert block_strings(zoo("mobilenetv1_100"))[1] == ["dsa_r2_k3_s2_c128"]
    assert block_strings(zoo("mobilenetv4_conv_small"))[1:3] == [
        ["cn_r1_k3_s2_c96", "cn_r1_k1_s1_c64"],
        ["uir_r1_a5_k5_s2_e3_c96", "uir_r4_a0_k3_s1_e2_c96", "uir_r1_a3_k0_s1_e4_c96"],
    ]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet50"])
def test_timm_can_express_every_published_network_but_resnet(name):
    assert timm_description(zoo(name))["arch_def"]


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        "tf_efficientnetv2_b0",
        "tf_efficientnet_lite0",
        "mobilenetv2_100",
        "mnasnet_a1",
        "mobilenet_v1",
        "mobilenetv3_large_100",
        "mobilenetv3_small_100",
        "mobilenetv4_conv_small",
    ],
)
def test_timm_rebuilds_published_networks(name):
    assert rebuilt_difference(dataclasses.replace(zoo(name), resolution=65)) < 1e-4


@pytest.mark.parametrize("small_images", [False, True])
@pytest.mark.parametrize("name", ["efficientnet", "efficientnetv2", "mnasnet", "mobilenetv4"])
def test_timm_rebuilds_networks_of_the_spaces(name, small_images):
    of = space(name, resolution=32 if small_images else 64, width=0.25, small_images=small_images)
    rng = np.random.default_rng(1)
    rebuilt = 0
    for genotype in of.sample(300, rng):
        architecture = of.decode(genotype)
        try:
            timm_description(architecture)
        except ValueError:
            continue
        assert rebuilt_difference(architecture) < 1e-4
        rebuilt += 1
        if rebuilt == 2:
            return
    pytest.fail("timm could express fewer than 2 of 300")


@pytest.mark.slow
def test_what_timm_can_express_of_any_networks_it_computes():
    rng = np.random.default_rng(0)
    rebuilt = 0
    for _ in range(1500):
        architecture = dataclasses.replace(random_architecture(rng), stem_pool=False)
        try:
            timm_description(architecture)
        except ValueError:
            continue
        assert rebuilt_difference(architecture) < 1e-4
        rebuilt += 1
    assert rebuilt >= 15


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": (Stage("mbconv", 3, 3, 2, 4, 20, 0.13), Stage("mbconv", 2, 3, 1, 2, 20, 0.4))},
        {"stages": (Stage("mbconv", 2, 3, 1, 1, 7, 0.01), Stage("fused", 2, 3, 2, 8, 9, 0.5))},
        {"stages": tuple(Stage("conv", 1, 3, 2, 1, 8, 0.0) for _ in range(6)), "resolution": 128},
        {"stages": (Stage("mbconv", 2, 3, 1, 4, 8, 0.0, "none"),), "head": 0, "stem_kernel": 5},
        {"stem_stride": 1, "in_channels": 1, "activation": "hard_swish", "classes": 1},
        {"stages": (Stage("dwsep", 2, 7, 1, 1, 12, 0.3, "none"),), "padding": "symmetric"},
        {"stages": (Stage("mbconv", 2, 3, 1, 1, 8, 0.0, "project"),), "activation": "relu6"},
        {"stages": (Stage("mbconv", 2, 3, 1, 2.41, 16, 0.093),), "stem": 16},
        {"stages": (Stage("uib", 2, 0, 1, 1, 16, 0.3, start_kernel=3),), "stem": 16},
    ],
    ids=[
        "se-rounding",
        "odd-channels",
        "past-stride-32",
        "no-skip-no-head",
        "stem-stride-1",
        "dwsep",
        "nothing-to-project",
        "rounded-expansion",
        "kernel-in-front",
    ],
)
def test_timm_rebuilds_what_its_defaults_would_change(changes):
    assert rebuilt_difference(dataclasses.replace(PLAIN, **changes)) < 1e-4


def test_timm_gets_batch_norm_and_feature_levels():
    small = dataclasses.replace(PLAIN, bn_eps=2e-3, bn_momentum=0.03, stem_stride=1)
    network = timm_network(timm_description(small, mean=(0.5,) * 3, std=(0.2,) * 3))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(2e-3, 0.03)}
    assert network.feature_info[-1]["reduction"] == 2
    assert network.pretrained_cfg["mean"] == [0.5] * 3


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"stem_pool": True}, "max pool"),
        ({"stages": (Stage("identity", 1, 1, 1, 1, 8, 0.0),)}, "'identity'"),
        ({"stages": (Stage("bottleneck", 1, 3, 1, 4, 16, 0.0),)}, "'bottleneck'"),
        ({"stages": (Stage("mbconv", 1, 3, 1, 4, 16, 0.0, "pool"),)}, "skip 'pool'"),
        ({"stages": (Stage("conv", 1, 3, 1, 1, 16, 0.0, "project"),)}, "skip 'project'"),
        ({"stages": (Stage("fused", 1, 3, 1, 1, 16, 0.25),)}, "plain convolution"),
        ({"stages": (Stage("dwsep", 1, 3, 1, 1, 8, 0.0),)}, "'dwsep' with a shortcut"),
        ({"stem": 9, "stages": (Stage("mbconv", 1, 3, 1, 3, 8),)}, "27 channels inside"),
    ],
)
def test_what_timm_cannot_express_is_named_with_a_way_out(changes, what, tmp_path, capsys):
    run = a_run(tmp_path / "run", dataclasses.replace(PLAIN, **changes))
    assert export([str(run), "--to", "timm"]) == 2
    error = capsys.readouterr().err
    assert what in error
    assert "--to onnx, torchscript or safetensors" in error
    assert error.count("\n") == 1
    assert [path.name for path in run.iterdir()] == ["best.safetensors"]


@pytest.mark.slow
def test_the_timm_folder_is_loaded_without_this_project(tmp_path, capsys):
    run = a_run(tmp_path / "a run", dataclasses.replace(PLAIN, stem_stride=1))
    assert export([str(run), "--to", "timm"]) == 0
    assert "largest difference" in capsys.readouterr().out
    # -I: neither this folder nor PYTHONPATH; an installed project would not be imported either
    check = (
        "import runpy, sys, torch; names = runpy.run_path(sys.argv[1]); "
        "images = torch.load(sys.argv[2], weights_only=True); "
        "torch.save(names['network'](images).detach(), sys.argv[2]); "
        "assert 'search_spaces' not in sys.modules and 'train' not in sys.modules"
    )
    images, file = noise(2, 3, 33, 33), tmp_path / "images"
    torch.save(images, file)
    subprocess.run(
        [sys.executable, "-I", "-c", check, str(run / "timm" / "load.py"), str(file)],
        check=True,
        cwd=tmp_path,
        capture_output=True,
    )
    answer = torch.load(file, weights_only=True)
    torch.testing.assert_close(answer, logits(run, images), rtol=1e-4, atol=1e-4)
    assert {path.name for path in (run / "timm").iterdir()} == {
        "export.json",
        "load.py",
        "model.safetensors",
        "timm.json",
    }


@pytest.mark.skipif(not ONNX, reason="needs the extra onnx")
@pytest.mark.parametrize("padding", ["same", pytest.param("symmetric", marks=pytest.mark.slow)])
def test_onnxruntime_computes_the_network_at_any_batch_size(padding, tmp_path):
    import onnxruntime

    run = a_run(tmp_path / "run", dataclasses.replace(SMALL, padding=padding))
    result = exported(run, "onnx")
    path, compared = result.path, result.compared
    assert compared.equal
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == (
        "images",
        "tensor(float)",
        ["batch", 3, 33, 33],
    )
    assert (result.name, result.shape) == ("logits", ["batch", 5])
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes["classes"])[1] == "class 1"
    assert json.loads(notes["preprocessing"])["mean"] == [0.5, 0.4, 0.3]
    for batch in (1, 2, 7):
        images = noise(batch, 3, 33, 33)
        answer = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        torch.testing.assert_close(answer, logits(run, images), rtol=1e-4, atol=1e-4)
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()  # no local paths


@pytest.mark.slow
def test_torchscript_runs_alone_at_any_size(tmp_path):
    run = a_run(tmp_path / "run", dataclasses.replace(SMALL, padding="same"))
    result = exported(run, "torchscript", out=str(tmp_path / "net.pt"))
    path, compared = result.path, result.compared
    assert compared.difference == 0
    notes = {"description.json": ""}
    network = torch.jit.load(str(path), _extra_files=notes)
    assert json.loads(notes["description.json"])["classes"][4] == "class 4"
    for batch, side in ((1, 33), (5, 40), (2, 47)):
        images = noise(batch, 3, side, side)
        torch.testing.assert_close(network(images).detach(), logits(run, images))


def test_safetensors_hold_timms_names_and_a_json_beside(tmp_path):
    run = a_run(tmp_path / "run", SMALL)
    result = exported(run / "best.safetensors", "safetensors")
    path, compared = result.path, result.compared
    assert compared.difference == 0
    assert path == run / "network.safetensors"
    assert load_file(path).keys() == build(SMALL).state_dict().keys()
    notes = json.loads((run / "network.json").read_text())
    assert Architecture.from_dict(notes["architecture"]) == SMALL
    assert notes["preprocessing"] == {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.25],
        "resolution": 33,
        "crop_share": 0.9,
        "interpolation": "bilinear",
        "channels": 3,
    }


@pytest.mark.parametrize("name", ["scratch", "PROGRAM"])
def test_an_export_may_have_any_name(name, tmp_path):
    run = a_run(tmp_path / "run")
    result = exported(run, "timm", out=str(tmp_path / name))
    assert (result.path / "model.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"run", name}


def test_an_exported_file_has_one_owner(tmp_path, capsys):
    a_run(tmp_path)
    owner = this_process("other.command")
    with owned(tmp_path, "other.command", name=".network.safetensors.owner.json"):
        assert export([str(tmp_path), "--to", "safetensors"]) == 2
    assert f"is in use by other.command (process {owner['pid']}" in capsys.readouterr().err
    assert not (tmp_path / "network.safetensors").exists()
    assert export([str(tmp_path), "--to", "safetensors"]) == 0


def changed(path: Path, request):
    network = formats._read_safetensors(path, request)
    network.classifier.bias.data += 2e-3
    return network


def broken(path: Path, request):
    raise RuntimeError("no such\noperator")


def not_a_number(path: Path, request):
    return lambda images: torch.full((len(images), 5), float("nan"))


@pytest.mark.parametrize("read", [changed, broken, not_a_number])
def test_of_an_export_that_is_not_the_network_nothing_is_left(read, tmp_path, monkeypatch, capsys):
    run = a_run(tmp_path / "run")
    form = dataclasses.replace(formats.FORMATS["safetensors"], read=read)
    monkeypatch.setitem(formats.FORMATS, "safetensors", form)
    assert export([str(run), "--to", "safetensors"]) == 1
    streams = capsys.readouterr()
    assert streams.err.startswith("train.export: ")
    assert streams.err.count("\n") == 1
    assert not streams.out
    assert [path.name for path in run.iterdir()] == ["best.safetensors"]


def test_each_batch_is_judged_by_its_own_scale(monkeypatch):
    """Large logits for noise do not hide a difference on photographs."""
    network = build(PLAIN).eval()
    pictures = 1e-3 * noise(4, 3, 33, 33)

    def other(images: torch.Tensor) -> torch.Tensor:
        quiet = images.std() < 0.1
        return network(images) + (5e-4 if quiet else 0.0)

    loud = 1e6 * noise(4, 3, 33, 33)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: loud)
    assert not compare.compare(network, other, pictures).equal
    assert compare.compare(network, network, pictures).equal


@pytest.mark.slow
def test_it_compares_on_the_runs_images_or_on_those_given(tmp_path, capsys):
    run = a_run(tmp_path / "run", dataclasses.replace(PLAIN, classes=2))
    rng = np.random.default_rng(0)
    for index in range(12):
        folder = tmp_path / "data" / ("test" if index < 4 else "train") / f"class {index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{index}.png")
    arguments = [str(run), "--to", "safetensors", "--out"]
    for name, extra, said in (
        ("a", [], "4 smooth random images"),
        ("b", ["--images", str(tmp_path / "data")], f"4 images of {tmp_path / 'data'}"),
        ("c", [], f"4 images of imagefolder:{tmp_path / 'data'}"),
    ):
        if name == "c":
            settings = {"data": f"imagefolder:{tmp_path / 'data'}", "recipe": {"seed": 3}}
            (run / "run.json").write_text(json.dumps({"settings": settings, "outcome": {}}))
        out = tmp_path / f"{name}.safetensors"
        assert export([*arguments, str(out), *extra]) == 0
        streams = capsys.readouterr()
        assert said in streams.out
        assert str(out) in streams.out.splitlines()[-1]
        assert ("accuracy not measured" in streams.out) == (name != "c")


@pytest.mark.slow
def test_the_command_it_prints_runs(tmp_path, capsys, monkeypatch):
    run = a_run(tmp_path / "a run's")
    monkeypatch.chdir(tmp_path)  # printed paths are relative to the current folder
    assert export([str(run), "--to", "torchscript"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].strip()
    Image.fromarray(smooth(3, 90, 120)).save(tmp_path / "PHOTO.jpg")
    done = subprocess.run(
        command, shell=True, check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.startswith("PHOTO.jpg\t")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{run}"], "--to"),
        (["{run}", "--to", "pdf"], "pdf"),
        (["{tmp}/none", "--to", "timm"], "does not exist"),
        (["{tmp}", "--to", "timm"], "has no best.safetensors"),
        (["{tmp}/text.txt", "--to", "timm"], "not a safetensors file"),
        (["{run}", "--to", "onnx", "--out", "{tmp}/net.bin"], "must end in .onnx"),
        (["{run}", "--to", "safetensors", "--out", "{run}/best.safetensors"], "exists"),
        (["{run}", "--to", "timm", "--out", "{tmp}/none/timm"], "does not exist"),
        (["{run}", "--to", "safetensors", "--images", "{tmp}/none"], "none does not exist"),
        (["{run}", "--to", "safetensors", "--images", "{run}"], "no images in"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, capsys):
    run = a_run(tmp_path / "run")
    (tmp_path / "text.txt").write_text("no weights")
    before = (run / "best.safetensors").read_bytes()
    given = [argument.format(run=run, tmp=tmp_path) for argument in arguments]
    assert export(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.export: ")
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in run.iterdir()] == ["best.safetensors"]
    assert (run / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_without_its_packages_onnx_says_what_to_install(missing, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name)
    )
    assert export([str(a_run(tmp_path / "run")), "--to", "onnx"]) == 2
    error = capsys.readouterr().err
    assert f"{missing} is not installed" in error
    assert "pip install 'vision-baseline-search[onnx]'" in error
