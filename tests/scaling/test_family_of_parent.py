"""Families of smaller networks from a trained parent, whose members inherit its weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.parent import within_parent
from search_spaces.scale import scale
from tests.commands import family as run
from tests.nas.parents import toys
from train.data import load
from train.inherit.weights import check_child
from train.parents import load_parent
from vbs.folder import write_json

WHOLE = cost(toys.PARENT).flops


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images, a parent, and the teacher and result of a search."""
    place = tmp_path_factory.mktemp("family")
    data = load(toys.image_folder(place / "images"), minival=0.2)
    toys.trained_parent(place / "parent.safetensors", data)
    base = within_parent(scale(toys.PARENT, depth=0.5), toys.PARENT)
    assert base is not None
    search: dict[str, Any] = {
        "settings": {
            "parent": str(place / "parent.safetensors"),
            "data": f"imagefolder:{place / 'images'}",
            "target_flops": 0.8 * WHOLE,
            "recipe": "finetune",
            "changes": ["minival=0.2"],
        },
        "outcome": {"teacher": {"weights": "../parent.safetensors"}},
    }
    (place / "search").mkdir()
    write_json(place / "search" / "search.json", search)
    write_json(place / "search" / "best.json", {"architecture": json.loads(base.to_json())})
    return place


def members(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "family.json").read_text())["members"]
    return rows


def test_a_network_that_was_found_gets_smaller_ones_with_weights(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "family"
    base = str(place / "search" / "best.json")
    targets = [int(0.5 * WHOLE), int(0.35 * WHOLE)]
    assert run(["--base", base, "--targets", ",".join(map(str, targets)), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "sub-networks of" in printed
    assert "--recipe finetune --set teacher=" in printed
    for row, target in zip(members(out), targets, strict=True):
        assert row["name"] == str(target)
        assert 0.97 * target <= row["flops"] <= target
        found = load_parent(str(out / "members" / row["weights"]))  # which checks all tensors
        check_child(toys.PARENT, found.architecture)
        assert found.architecture.resolution <= toys.SIDE
        assert found.classes == toys.CLASSES
        assert row["inherited_minival_top1"] > 100 / len(toys.CLASSES)


def test_the_parent_itself_is_a_base_and_its_largest_member(place: Path, tmp_path: Path) -> None:
    out, parent = tmp_path / "family", str(place / "parent.safetensors")
    assert run(["--parent", parent, "--phi=-1..0", "--out", str(out)]) == 0
    smaller, whole = members(out)
    assert whole["flops"] == WHOLE
    assert smaller["flops"] == pytest.approx(WHOLE / 2, rel=0.03)
    assert load_parent(str(out / "members" / "phi0.safetensors")).architecture == toys.PARENT


def test_weights_can_be_left_out(place: Path, tmp_path: Path) -> None:
    out, base = tmp_path / "family", str(place / "search" / "best.json")
    assert run(["--base", base, "--phi=-1", "--no-weights", "--out", str(out)]) == 0
    assert [path.name for path in (out / "members").iterdir()] == ["phi-1.json"]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--base", "BASE", "--phi", "1"], "--phi: 1 (1.351M FLOPs) is above the members of a "),
        (["--base", "BASE", "--targets", "2M"], "--targets: 2M FLOPs are above the members of a "),
        (["--base", "BASE", "--targets", "1K"], "--targets: 1K FLOPs are below the members of a "),
        (["--base", "BASE", "--targets", "x"], "--targets: 'x' is not a size"),
        (["--base", "BASE", "--targets", "1M", "--phi", "0"], "--phi: leave it out if --targets"),
        (
            ["--targets", "1M", "--objective", "memory", "--base", "BASE"],
            "--targets: targets are FLOP",
        ),
        (["--base", "mobilenet_v2", "--weights"], "--weights: there is no parent to inherit them"),
        (["--base", "mobilenet_v2", "--parent", "PARENT"], "--base: it is not a sub-network of "),
        (["--parent", "nowhere.safetensors"], "parent: "),
    ],
)
def test_mistakes_are_one_line(
    place: Path,
    more: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {
        "BASE": str(place / "search" / "best.json"),
        "PARENT": str(place / "parent.safetensors"),
    }
    assert run([places.get(word, word) for word in more]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith(f"scaling.family: {complaint}")
    assert not (tmp_path / "runs").exists()


def test_the_range_of_a_family_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--parent", str(place / "parent.safetensors"), "--phi", "0..2"]) == 2
    line = capsys.readouterr().err
    assert "a family inside a parent of 997.1K FLOPs; use -2.0" in line
    assert "to 0.00 with --growth 2" in line


def test_a_teacher_that_is_gone_is_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("search.json", "best.json"):
        (tmp_path / name).write_bytes((place / "search" / name).read_bytes())
    assert run(["--base", str(tmp_path / "best.json"), "--phi=-1"]) == 2
    assert "the weights of the teacher of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2", "resnet50"])
def test_scaled_networks_fit_into_their_parent(name: str) -> None:
    parent = zoo(name)
    for width in (0.6, 0.8, 1.0, 1.3):
        found = within_parent(scale(parent, width=width, depth=0.7), parent)
        if found is not None:
            check_child(parent, found)
    assert within_parent(parent, parent) == parent


def test_a_shortcut_that_the_parent_lacks_is_refused() -> None:
    parent: Architecture = zoo("efficientnet_lite0")
    assert parent.stages[4].stride == 1
    same = dataclasses.replace(parent.stages[4], channels=parent.stages[3].channels)
    stages = (*parent.stages[:4], same, *parent.stages[5:])
    assert within_parent(dataclasses.replace(parent, stages=stages), parent) is None
