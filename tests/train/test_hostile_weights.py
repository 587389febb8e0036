"""Weights with impossible descriptions or numbers are refused with their name by all readers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from search_spaces.architecture import Architecture, Stage
from search_spaces.network import build
from tests.commands import export
from train.checkpoint import WEIGHTS, Weights, write_weights
from train.initial import initialise
from train.pseudo_labels import load_teacher

PLAIN = Architecture(
    stem=4,
    stages=(Stage("mbconv", layers=1, kernel=3, stride=1, expand=2, channels=4),),
    head=8,
    resolution=16,
    classes=3,
)
KERNEL = "blocks.0.0.conv_dw.weight"

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]


def a_run(folder: Path, change: Change | None = None, *, text: str = "") -> Path:
    """Return a folder with the changed best.safetensors of an untrained network."""
    folder.mkdir()
    path = folder / "best.safetensors"
    about = {"recipe": {}, "data": "none"}
    tensors = build(PLAIN).state_dict()
    write_weights(
        path, Weights(tensors, PLAIN, ("a", "b", "c"), (0.5,) * 3, (0.2,) * 3, 16, 1.0, about)
    )
    with safetensors.safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()["content"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if change is not None:
        change(header, tensors)
    content = json.dumps(header)
    save_file(tensors, path, {"format": WEIGHTS, "content": text or content})
    return folder


def header(**fields: Any) -> Change:
    return lambda header, tensors: header.update(fields)


def weight(make: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def change(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        tensors[KERNEL] = make(tensors[KERNEL])

    return change


def huge(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Return a network of thousands of gigabytes."""
    header["architecture"] = {**header["architecture"], "head": 10**6, "classes": 10**6}
    header["classes"] = [str(number) for number in range(10**6)]


HOSTILE: dict[str, tuple[Change, str]] = {
    "infinite side": (header(resolution=float("inf")), "Infinity is not a JSON number"),
    "huge side": (header(resolution=10**9), "resolution: 1000000000 is not allowed"),
    "negative side": (header(resolution=-5), "resolution: -5 is not allowed"),
    "broken side": (header(resolution=16.5), "resolution: 16.5 is not a whole number"),
    "true side": (header(resolution=True), "resolution: True is not allowed"),
    "text side": (header(resolution="16"), "resolution: '16' is not allowed"),
    "no deviation": (header(std=[0.2, 0, 0.2]), "std: 0 is not allowed"),
    "tiny deviation": (header(std=[0.2, 1e-320, 0.2]), "std: 1e-320 is not allowed"),
    "two means": (header(mean=[0.5, 0.5]), "mean: [0.5, 0.5] is not three numbers"),
    "huge mean": (header(mean=[0.5, 0.5, 1e308]), "mean: 1e+308 is not allowed"),
    "no crop": (header(crop_share=0), "crop_share: 0 is not allowed"),
    "large crop": (header(crop_share=1.5), "crop_share: 1.5 is not allowed"),
    "a class too few": (header(classes=["a", "b"]), "classes: 2 names for 3 classes"),
    "numbers as classes": (header(classes=[1, 2, 3]), "classes: they are not a list of names"),
    "about a number": (header(about=7), "about: it is not an object"),
    "no architecture": (lambda header, _: header.pop("architecture"), "'architecture' is missing"),
    "another network": (header(architecture={"stem": 4}), "this field is missing"),
    "a network too large": (huge, "the network's is [1000000"),
    "a tensor too few": (lambda _, tensors: tensors.pop(KERNEL), "lacks tensor"),
    "a tensor too many": (
        lambda _, tensors: tensors.update({"x\x1b]0;\x07": torch.zeros(1)}),
        r"unknown tensor 'x\x1b]0;\x07'",
    ),
    "another shape": (weight(lambda value: value[:2].clone()), "is [2, 1, 3, 3]"),
    "whole numbers": (weight(lambda value: value.to(torch.int8)), "holds int8; use float32"),
    "complex numbers": (weight(lambda value: value.to(torch.complex64)), "holds complex64"),
    "eight bits": (weight(lambda value: value.to(torch.float8_e4m3fn)), "holds float8_e4m3fn"),
    "not a number": (weight(lambda value: value * float("nan")), "not finite"),
    "infinite": (weight(lambda value: value / 0), "not finite"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_weights_are_refused_by_name(
    change: Change, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "run", change)
    assert export([str(run), "--to", "safetensors"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert "best.safetensors" in error
    assert [path.name for path in run.iterdir()] == ["best.safetensors"]
    for read in (lambda: initialise(build(PLAIN), str(run)), lambda: load_teacher(run)):
        with pytest.raises(ValueError, match=r"best\.safetensors"):
            read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mean": [1, 1, 1], "mean": [0, 0, 0]}', "the key 'mean' appears twice"),
        ('{"mean": [1e999, 1, 1]}', "1e999 is too large"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "its header is damaged"),
        ("{", "its header is damaged"),
    ],
)
def test_hostile_descriptions(text: str, message: str, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", text=text)
    with pytest.raises(ValueError, match=message):
        load_teacher(run)


def test_weights_of_others_are_looked_at_too(tmp_path: Path) -> None:
    tensors = build(PLAIN).state_dict()
    path = tmp_path / "theirs.safetensors"
    for make, message in (
        (lambda value: value.to(torch.int8), "holds int8"),
        (lambda value: value * float("nan"), "not finite"),
    ):
        save_file({**tensors, KERNEL: make(tensors[KERNEL])}, path)
        network = build(PLAIN)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        with pytest.raises(ValueError, match=message):
            initialise(network, str(path))
        assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    (tmp_path / "theirs.json").write_text(
        '{"preprocessing": {"mean": [0, 0, 0], "std": [0, 0, 0]}}'
    )
    save_file(tensors, path)
    assert initialise(build(PLAIN), str(path)).std is None


def test_sound_weights_are_read(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", weight(lambda value: value.to(torch.bfloat16)))
    assert load_teacher(run).weights.resolution == 16
    other = build(dataclasses.replace(PLAIN, classes=5))
    assert initialise(other, str(run)).loaded > 0
