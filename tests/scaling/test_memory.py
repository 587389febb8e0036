"""The estimate of a training's memory equals the memory that autograd keeps."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from scaling.memory import training_memory
from search_spaces.catalog import zoo
from search_spaces.network import build


def kept(architecture: Any, batch: int, *, lean: bool) -> int:
    """Return bytes of the tensors that a forward pass keeps for backward, without weights."""
    network = build(architecture).train()
    if not lean:  # with hooks, modules do not take the lean path
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_hook(lambda *_: None)
    own = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    sizes: dict[int, int] = {}
    alive = []  # keeps tensors alive, because an address could be used twice

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    side = architecture.resolution
    images = torch.randn(batch, architecture.in_channels, side, side)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(images)
    return sum(sizes.values())


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        "efficientnetv2_b0",
        "mobilenet_v1",
        "mobilenet_v2",
        "mnasnet_a1",
        "resnet50",
        "efficientnet_lite0",
        "mobilenetv3_large_100",
        "mobilenetv4_conv_small",
    ],
)
def test_activations_are_those_that_autograd_keeps(name: str, lean: bool) -> None:
    network = dataclasses.replace(zoo(name), resolution=96)
    estimate = training_memory(network, batch=2, recompute=lean).activations
    assert estimate == pytest.approx(kept(network, 2, lean=lean), rel=0.04)


def test_weights_count_gradients_optimizer_and_average() -> None:
    b0 = zoo("efficientnet_b0")
    plain = training_memory(b0, batch=1, optimizer="sgd", average=False)
    assert plain.weights == 3 * 4 * 5_288_548
    assert training_memory(b0, batch=1).weights == 5 * 4 * 5_288_548
    assert plain.total == plain.weights + plain.activations
    half = training_memory(b0, batch=1, precision="bfloat16")
    assert 2 * half.activations == plain.activations
    assert training_memory(b0, batch=8).activations == 8 * plain.activations


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"batch": 0}, "batch: 0"),
        ({"optimizer": "lion"}, "optimizer: 'lion'"),
        ({"precision": "int8"}, "precision: 'int8'"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint):
        training_memory(zoo("efficientnet_b0"), **{"batch": 1, **changes})
