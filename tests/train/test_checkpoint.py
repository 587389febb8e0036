"""Checkpoints are written atomically, and those of other trainings are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from search_spaces.network import build
from tests.train import toys
from train.checkpoint import (
    Weights,
    flatten_optimizer,
    load_into,
    read_state,
    read_weights,
    restore_optimizer,
    write_state,
    write_weights,
)
from train.optimizer import optimizer


def weights() -> Weights:
    torch.manual_seed(0)
    tensors = build(toys.NETWORK).state_dict()
    return Weights(
        tensors,
        toys.NETWORK,
        toys.CLASSES,
        (0.1, 0.2, 0.3),
        (1.0, 1.0, 1.0),
        16,
        0.9,
        {"data": "toys"},
    )


def test_weights_survive_and_others_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    write_weights(path, weights())
    again = read_weights(path)
    assert again.architecture == toys.NETWORK
    assert (again.classes, again.mean, again.resolution) == (toys.CLASSES, (0.1, 0.2, 0.3), 16)
    build(toys.NETWORK).load_state_dict(load_file(path))
    assert [file.name for file in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "last.safetensors"
    write_state(path, {"a": torch.zeros(1000)}, {"step": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"last\.safetensors: truncated or not a safetensors"):
        read_state(path)


def test_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(3)}, str(path))
    with pytest.raises(ValueError, match="not a vision-baseline-search training state file"):
        read_state(path)
    write_weights(path, weights())
    with pytest.raises(ValueError, match="not a vision-baseline-search training state file"):
        read_state(path)
    save_file(
        {"a": torch.zeros(3)},
        str(path),
        {"format": "vision-baseline-search weights 1", "content": "[]"},
    )
    with pytest.raises(ValueError, match="its header is damaged"):
        read_weights(path)
    with pytest.raises(ValueError, match=r"cannot be read|truncated"):
        read_state(tmp_path / "none.safetensors")


def test_a_pickle_is_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "last.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="truncated or not a safetensors"):
        read_state(path)
    assert not (tmp_path / "sprung").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_state(path, {"a": torch.ones(3)}, {"step": 1})
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError):  # safetensors refuses two names for one memory
        write_state(path, {"a": shared, "b": shared[:2]}, {"step": 2})
    assert read_state(path)[1] == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["rmsprop", "sgd", "adamw"])
def test_an_optimizer_continues_as_if_it_had_not_been_stored(tmp_path: Path, name: str) -> None:
    def stepped(network: torch.nn.Module, made: torch.optim.Optimizer) -> None:
        for param in network.parameters():
            param.grad = torch.sin(param.detach() * 5)
        made.step()

    recipe = toys.recipe(f"optimizer={name}")
    torch.manual_seed(0)
    one = build(toys.NETWORK)
    first = optimizer(recipe, one)
    stepped(one, first)
    write_state(tmp_path / "s", flatten_optimizer(first), {})
    other = build(toys.NETWORK)
    load_into(other, one.state_dict(), source="test")
    second = optimizer(recipe, other)
    restore_optimizer(second, read_state(tmp_path / "s")[0])
    stepped(one, first)
    stepped(other, second)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_tensors_of_another_network_are_named() -> None:
    tensors = dict(build(toys.NETWORK).state_dict())
    network = build(toys.NETWORK)
    del tensors["conv_stem.weight"]
    with pytest.raises(ValueError, match=r"file: lacks tensor 'conv_stem\.weight'"):
        load_into(network, tensors, source="file")
    tensors["conv_stem.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"'conv_stem\.weight' is \[1\], the network's is \[8, 3"):
        load_into(network, tensors, source="file")


def test_a_header_is_json_and_nothing_else(tmp_path: Path) -> None:
    write_weights(tmp_path / "w", weights())
    text = (tmp_path / "w").read_bytes()
    length = int.from_bytes(text[:8], "little")
    metadata = json.loads(text[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["content"])["about"] == {"data": "toys"}
