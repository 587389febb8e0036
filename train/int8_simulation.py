"""Simulation of networks quantised to 8-bit integers, in float32: `simulated_int8`.

An export to int8 takes seconds (`train.export`), too long for a search that compares hundreds of
networks. Here the weights and activations of a torch network are rounded to the values that int8
has, as in static quantisation by onnxruntime (QDQ, per channel, ranges by minimum and maximum).
Weights are symmetric with a scale for each output channel, after batch norm is folded into them.
Activations have a scale and a zero point for each tensor. They are rounded at the input of every
convolution and linear layer and of activations that are not fused (SiLU, hard-swish, gates), and at
the output of every normalisation whose activation is not fused. ReLU and ReLU6 are fused into
their convolution.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 255  # steps of an unsigned 8-bit integer
WEIGHT = 127  # largest quantised weight; symmetric
FUSED = (nn.ReLU, nn.ReLU6)  # activations that are fused into their convolution


class _Range:
    """Observes the range of a tensor on calibration images, then rounds tensors to this range."""

    def __init__(self) -> None:
        self.low, self.high, self.rounds = 0.0, 0.0, False  # int8 must represent zero exactly

    def __call__(self, x: Tensor) -> Tensor:
        if not self.rounds:
            self.low = min(self.low, float(x.min()))
            self.high = max(self.high, float(x.max()))
            return x
        scale = max((self.high - self.low) / LEVELS, 1e-12)
        zero = min(max(round(-self.low / scale), 0), LEVELS)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, LEVELS)


@dataclass(frozen=True)
class _Links:
    """Connections between modules in a forward pass, found by shared tensors.

    norm_of      convolution -> the batch norm that follows it.
    fused_norms  norms whose activation is fused.
    """

    norm_of: dict[nn.Module, nn.BatchNorm2d]
    fused_norms: set[nn.Module]


def simulated_int8(network: nn.Module, batches: Sequence[Tensor]) -> nn.Module:
    """Return a copy of a network, in evaluation mode, that computes as its int8 form would.

    network  consists of convolutions, batch norms, linear layers and activations, e.g. a
             `search_spaces.network.Network`; evaluation statistics of batch norm are used.
    batches  prepared images [n, c, height, width] that determine the ranges of activations; a few
             dozen images in all are enough.

    Raises ValueError if there are no images.
    """
    if not len(batches):
        raise ValueError("batches: there are no images to determine the ranges of activations")
    copied = copy.deepcopy(network).eval()
    with torch.inference_mode():
        links = _links(copied, batches[0][:1])
        for module in copied.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                _round_weight(module, links.norm_of.get(module))
        ranges = _observe(copied, links)
        for images in batches:
            copied(images)
    for each in ranges:
        each.rounds = True
    return copied


def _links(network: nn.Module, image: Tensor) -> _Links:
    """Find the connections between modules by running the network on one image."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # id -> (module, output); keeps the id in use
    norm_of: dict[nn.Module, nn.BatchNorm2d] = {}
    fused: set[nn.Module] = set()

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        source = made.get(id(inputs[0]), (None, None))[0]
        if isinstance(module, nn.BatchNorm2d) and isinstance(source, nn.Conv2d):
            norm_of[source] = module
        if isinstance(module, FUSED) and isinstance(source, nn.BatchNorm2d):
            fused.add(source)
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            made[id(output)] = module, output

    leaves = [module for module in network.modules() if not len(list(module.children()))]
    handles = [module.register_forward_hook(look) for module in leaves]
    inplace = [module for module in leaves if getattr(module, "inplace", False)]
    try:
        for module in inplace:
            module.inplace = False
        network(image)
    finally:
        for handle in handles:
            handle.remove()
        for module in inplace:
            module.inplace = True
    return _Links(norm_of, fused)


def _round_weight(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None) -> None:
    """Round a layer's weight in its form after batch norm is folded into it."""
    weight = layer.weight
    factor = torch.ones(len(weight))
    if norm is not None:
        assert norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shape = (-1, *[1] * (weight.dim() - 1))
    folded = weight * factor.reshape(shape)
    scale = (folded.flatten(1).abs().amax(1) / WEIGHT).clamp_min(1e-12)
    rounded = torch.fake_quantize_per_channel_affine(
        folded, scale, torch.zeros(len(weight), dtype=torch.int32), 0, -WEIGHT, WEIGHT
    )
    safe = torch.where(factor == 0, torch.ones_like(factor), factor)  # 0: the channel is constant
    layer.weight = nn.Parameter(rounded / safe.reshape(shape), requires_grad=False)


def _observe(network: nn.Module, links: _Links) -> list[_Range]:
    """Add a range at every place where an int8 network rounds."""
    ranges: list[_Range] = []

    def new() -> _Range:
        ranges.append(_Range())
        return ranges[-1]

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.SiLU | nn.Hardswish):
            module.register_forward_pre_hook(functools.partial(_round_input, new()))
        if isinstance(module, nn.SiLU):
            module.register_forward_hook(functools.partial(_round_sigmoid, new()))
        fused = module in links.fused_norms
        if isinstance(module, nn.Sigmoid | nn.Hardsigmoid | nn.BatchNorm2d) and not fused:
            module.register_forward_hook(functools.partial(_round_output, new()))
    return ranges


def _round_input(rounded: _Range, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return rounded(inputs[0]), *inputs[1:]


def _round_output(
    rounded: _Range, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
) -> Tensor:
    return rounded(output)


def _round_sigmoid(
    rounded: _Range, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
) -> Tensor:
    """Round the sigmoid of SiLU, which is a separate operator in ONNX."""
    return inputs[0] * rounded(torch.sigmoid(inputs[0]))
