"""Folders for the Hub: timm loads them without this project, and the card has the known facts."""

from __future__ import annotations

import builtins
import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search_spaces.catalog import zoo
from tests.commands import export
from tests.train.exported import CLASSES, SMALL, coloured, photographs, trained
from train import load_network
from train.export.hub import SEARCHED, published_name

PUBLISHED = dataclasses.replace(zoo("mobilenetv2_100"), classes=len(CLASSES), resolution=32)
# -I: neither this folder nor PYTHONPATH; what the network says about images goes to a file
BY_TIMM = """
import sys, timm, torch
network = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
images = torch.load(sys.argv[2], weights_only=True)
torch.save(network(images).detach(), sys.argv[2])
config = timm.data.resolve_model_data_config(network)
assert tuple(config["input_size"]) == (3, 32, 32), config
assert config["crop_pct"] == 0.9 and config["interpolation"] == "bilinear", config
assert network.pretrained_cfg["label_names"][2] == "red"
assert "search_spaces" not in sys.modules and "train" not in sys.modules
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return photographs(tmp_path_factory.mktemp("photographs"), train=6, test=4)


def in_python(code: str, *words: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def logits_of(source: Path, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return load_network(source).module(images)


def test_timm_has_names_of_published_networks_only():
    assert published_name(PUBLISHED) == "mobilenetv2_100"
    assert published_name(zoo("tf_efficientnet_lite0")) == "tf_efficientnet_lite0"
    assert published_name(SMALL) is None
    assert published_name(dataclasses.replace(PUBLISHED, activation="silu")) is None


@pytest.mark.slow
def test_timm_loads_a_published_network_by_its_name(data, tmp_path, capsys):
    run = trained(tmp_path / "run", data, PUBLISHED)
    assert export([str(run), "--to", "hub", "--license", "apache-2.0"]) == 0
    folder = run / "hub"
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "export.json",
        "load.py",
        "model.safetensors",
        "timm.json",
    }
    images, file = torch.randn(2, 3, 32, 32), tmp_path / "images"
    torch.save(images, file)
    in_python(BY_TIMM, folder, file, cwd=tmp_path)
    answer = torch.load(file, weights_only=True)
    expected = logits_of(run, images)
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits_of(folder, images), expected)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: timm\n")
    assert 'timm.create_model("local-dir:FOLDER", pretrained=True)' in card
    assert "The published network mobilenetv2\\_100." in card


@pytest.mark.slow
def test_a_searched_network_has_a_card_and_a_program(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # printed paths are relative to the current folder
    search = tmp_path / "search"
    run = trained(search / "trials" / "run", data)
    record = {
        "settings": {"space": "mnas|net", "budget": 400.0, "storage": "postgresql://me:secret@db"},
        "outcome": {"evaluated": 321, "seconds": 7200},
    }
    (search / "search.json").write_text(json.dumps(record))
    assert export([str(run), "--to", "hub", "--measured", "Pixel 7 | int8: 4.1 ms"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].strip()
    card = (run / "hub" / "README.md").read_text()
    for text in (
        "top-1 accuracy | ",
        f"| parameters | {sum(p.numel() for p in load_network(run).module.parameters()):,} |",
        "| Pixel 7 \\| int8: 4.1 ms |",
        "| space | mnas\\|net |",
        "| networks evaluated | 321 |",
        "| hours | 2.0 |",
        "| epochs | 3 |",
        "dark, light, red",
        "not stated: fill it in",
        "timm has no name for this network",
    ):
        assert text in card, text
    assert "secret" not in card
    assert str(tmp_path) not in card  # no local folders
    assert json.loads((run / "hub" / "config.json").read_text())["architecture"] == SEARCHED
    coloured(7, "light").save(tmp_path / "PHOTO.jpg")
    words = command.split()
    done = subprocess.run(
        [words[0], "-I", *words[1:]], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.split("\t")[1].startswith("light ("), done.stderr


def test_without_the_hub_it_says_what_to_type(data, tmp_path, monkeypatch, capsys):
    run = trained(tmp_path / "run", data)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "huggingface_hub" else find(name, *rest),
    )
    assert export([str(run), "--to", "hub", "--push", "me/net"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "pip install huggingface_hub" in error
    assert f"hf upload me/net {run / 'hub'}" in error
    assert (run / "hub" / "README.md").is_file()  # the export exists


def test_an_upload_goes_to_the_hub_or_says_why_not(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    from train.export.hub import push

    calls = []

    class Api:
        def create_repo(self, name: str, **options: object) -> None:
            calls.append((name, options))

        def upload_folder(self, **options: object) -> str:
            calls.append(options)
            return "https://huggingface.co/me/net/commit/1"

    monkeypatch.setattr(hub, "HfApi", Api)
    assert push(tmp_path, "me/net").endswith("commit/1")
    assert calls[1] == {"folder_path": str(tmp_path), "repo_id": "me/net"}

    def unreachable(self: Api, name: str, **options: object) -> None:
        raise builtins.ConnectionError("no\nroute to host")

    monkeypatch.setattr(Api, "create_repo", unreachable)
    with pytest.raises(ValueError, match=r"was not uploaded \(ConnectionError: no route to host\)"):
        push(tmp_path, "me/net")
