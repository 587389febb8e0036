"""Batch norm and SiLU in one step: torch's own results, with less memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from search_spaces.catalog import zoo
from search_spaces.network import build
from search_spaces.norm_act import norm_act


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_results_gradients_and_statistics_are_torchs(layout, training: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(24, eps=1e-3, momentum=0.01)
    nn.init.uniform_(norm.weight, -1, 2)
    nn.init.normal_(norm.bias)
    own = copy.deepcopy(norm)
    for module in (norm, own):
        module.train(training)
    x = torch.randn(6, 24, 9, 7).to(memory_format=layout)
    grad = torch.randn(6, 24, 9, 7)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    theirs, ours = nn.SiLU()(norm(inputs[0])), norm_act(own, nn.SiLU(), inputs[1])
    torch.testing.assert_close(ours, theirs)
    for out in (theirs, ours):
        (out * grad).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, value), other in zip(norm.named_parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(other.grad, value.grad, msg=name)
    for (name, value), other in zip(norm.named_buffers(), own.named_buffers(), strict=True):
        torch.testing.assert_close(other[1], value, msg=name)


def saved_bytes(network: nn.Module, images: torch.Tensor) -> int:
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    return sum(kept.values())


def test_a_network_keeps_a_quarter_less_than_with_hooks_on_its_activations() -> None:
    images = torch.randn(2, 3, 64, 64)
    lean, seen = (build(zoo("efficientnet_b0")) for _ in range(2))
    for module in seen.modules():
        if isinstance(module, nn.SiLU):
            module.register_forward_hook(lambda *_: None)
    weights = sum(parameter.numel() * 4 for parameter in lean.parameters())
    assert saved_bytes(lean, images) - weights < 0.75 * (saved_bytes(seen, images) - weights)


def test_hooks_are_called() -> None:
    network, calls = build(zoo("efficientnet_b0")), []
    network.act.register_forward_hook(lambda *_: calls.append(1))
    network(torch.randn(2, 3, 32, 32))
    assert calls == [1]
