"""Conversion of a single block of a timm network to the fields of an `Architecture`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from timm.layers import BatchNormAct2d, ConvNormAct, DropPath, get_act_layer
from timm.layers.conv2d_same import Conv2dSame
from timm.models._efficientnet_blocks import (
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    SqueezeExcite,
    UniversalInvertedResidual,
)
from torch import nn

from search_spaces.architecture import ACTIVATIONS, multiple_of_8

_ACTIVATIONS: dict[type, str] = {get_act_layer(name): name for name in ACTIVATIONS}
_GATES: dict[type, str] = {nn.Sigmoid: "sigmoid", nn.Hardsigmoid: "hard_sigmoid"}
# (convolution, batch norm) pairs of each block type, in order
_PAIRS: dict[type, tuple[tuple[str, str], ...]] = {
    ConvBnAct: (("conv", "bn1"),),
    DepthwiseSeparableConv: (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    InvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
    EdgeResidual: (("conv_exp", "bn1"), ("conv_pwl", "bn2")),
    UniversalInvertedResidual: (
        ("dw_start.conv", "dw_start.bn"),
        ("pw_exp.conv", "pw_exp.bn"),
        ("dw_mid.conv", "dw_mid.bn"),
        ("pw_proj.conv", "pw_proj.bn"),
    ),
}
_EXPANDING = (InvertedResidual, EdgeResidual, UniversalInvertedResidual)
_DEPTHWISE = ("conv_dw", "dw_start.conv", "dw_mid.conv")
_SPATIAL = ("conv", "conv_exp", *_DEPTHWISE)
_OPTIONAL = ("dw_start", "dw_mid")  # parts of a block that may be nn.Identity
# (type, whether an activation follows each batch norm) -> op
_OPS: dict[tuple[type, tuple[bool, ...]], str] = {
    (ConvBnAct, (True,)): "fused",
    (DepthwiseSeparableConv, (True, False)): "mbconv",
    (DepthwiseSeparableConv, (True, True)): "dwsep",
    (InvertedResidual, (True, True, False)): "mbconv",
    (EdgeResidual, (True, False)): "fused",
    (UniversalInvertedResidual, (False, True, True, False)): "uib",
    (UniversalInvertedResidual, (False, True, False)): "uib",  # without the second convolution
    (UniversalInvertedResidual, (True, True, False)): "uib",  # without the first
    (UniversalInvertedResidual, (True, False)): "uib",
}


@dataclass(frozen=True)
class Layer:
    """A block of a timm network; `part` is its name in timm, the rest are fields of a `Block`."""

    part: str
    op: str
    kernel: int
    start_kernel: int
    stride: int
    expand: float
    in_channels: int
    mid_channels: int
    channels: int
    se_channels: int
    gate: str
    activation: str
    skip: bool


def layer_of(part: str, block: nn.Module) -> Layer:
    """Return the layer of a block; raise ValueError if an `Architecture` cannot express it."""
    kind = type(block)
    if kind not in _PAIRS:
        raise inexpressible(f"{part}: its block {kind.__name__}")
    check_children(
        part, block, ("se", *(name.split(".")[0] for pair in _PAIRS[kind] for name in pair))
    )
    pairs = [pair for pair in _PAIRS[kind] if not _is_absent(part, block, pair[0])]
    convs = {name: conv_of(f"{part}.{name}", block.get_submodule(name)) for name, _ in pairs}
    norms = {f"{part}.{name}": block.get_submodule(name) for _, name in pairs}
    active = tuple(has_activation(name, norm) for name, norm in norms.items())
    op = _OPS.get((kind, active))
    if op is None:
        raise inexpressible(f"{part}: activations after {list(active)} of its batch norms")
    strides = _strides(part, convs)
    acts = [(name, norm.act) for (name, norm), on in zip(norms.items(), active, strict=True) if on]
    activation = same("activation", [(name, activation_of(name, act)) for name, act in acts])
    squeezed, gate = _squeezed(f"{part}.se", block, activation)
    ends = list(convs.values())
    into, mid = ends[0].in_channels, ends[-1].in_channels
    uib, start = op == "uib", convs.get("dw_start.conv")
    spatial = [conv for name, conv in convs.items() if name in _SPATIAL and conv is not start]
    return Layer(
        part,
        op,
        kernel=spatial[0].kernel_size[0] if spatial else 0,
        start_kernel=start.kernel_size[0] if start else 0,
        stride=strides,
        expand=_expand(part, into, mid, least=1 if uib else 2) if kind in _EXPANDING else 1,
        in_channels=into,
        mid_channels=mid,
        channels=ends[-1].out_channels,
        se_channels=squeezed,
        gate=gate,
        activation=activation,
        skip=bool(block.has_skip),
    )


def _is_absent(part: str, block: nn.Module, conv: str) -> bool:
    """Return whether a part of a universal inverted bottleneck is missing; check its modules."""
    name, _, inner = conv.partition(".")
    if not inner:
        return False
    module = getattr(block, name)
    if type(module) is nn.Identity and name in _OPTIONAL:
        return True
    if type(module) is not ConvNormAct:
        raise inexpressible(f"{part}.{name}: its {type(module).__name__}")
    check_children(f"{part}.{name}", module, ("conv", "bn"))
    return False


def _strides(part: str, convs: dict[str, nn.Conv2d]) -> int:
    """Return the stride of a block; only its last spatial convolution may have one."""
    last = [name for name in convs if name in _SPATIAL][-1:]
    for name, conv in convs.items():
        if name not in _SPATIAL and conv.kernel_size != (1, 1):
            raise inexpressible(f"{part}.{name}: its kernel {conv.kernel_size}")
        if name not in last and conv.stride != (1, 1):
            raise inexpressible(f"{part}.{name}: its stride {conv.stride}")
    return convs[last[0]].stride[0] if last else 1


def _expand(part: str, outer: int, inner: int, *, least: int) -> float:
    if inner % outer == 0 and inner // outer >= least:
        return inner // outer
    ratio = inner / outer
    if ratio > 1 and multiple_of_8(outer * ratio) == inner:
        return ratio
    raise ValueError(
        f"{part}: it expands {outer} channels to {inner}; an Architecture can express only "
        f"{least}, {least + 1}, {least + 2}, ... times as many, or a larger multiple of 8"
    )


def _squeezed(part: str, block: nn.Module, activation: str) -> tuple[int, str]:
    """Return the channels of the squeeze-and-excitation (0 if there is none) and its gate."""
    module = getattr(block, "se", None)
    if module is None or type(module) is nn.Identity:
        return 0, "sigmoid"
    if type(module) is not SqueezeExcite:
        raise inexpressible(f"{part}: its attention {type(module).__name__}")
    check_children(part, module, ("conv_reduce", "act1", "conv_expand", "gate"))
    gate = _GATES.get(type(module.gate))
    if gate is None:
        raise inexpressible(f"{part}: its gate {type(module.gate).__name__}")
    inside = activation_of(f"{part}.act1", module.act1)
    if inside != ("relu" if gate == "hard_sigmoid" else activation):
        raise inexpressible(f"{part}: its activation {inside} with a gate {gate}")
    return module.conv_reduce.out_channels, gate


def conv_of(part: str, conv: nn.Module, *, bias: bool = False) -> nn.Conv2d:
    """Return the convolution; raise ValueError if `search_spaces.layers` cannot build it."""
    if type(conv) not in (nn.Conv2d, Conv2dSame):
        raise inexpressible(f"{part}: its {type(conv).__name__}")
    kernel = conv.kernel_size[0]
    groups = conv.in_channels if part.endswith(_DEPTHWISE) else 1
    padding = (0, 0) if type(conv) is Conv2dSame else (kernel // 2, kernel // 2)
    for what, value, expected in (
        ("kernel", conv.kernel_size, (kernel | 1, kernel | 1)),  # odd and square
        ("stride", conv.stride, (min(conv.stride[0], 2),) * 2),
        ("dilation", conv.dilation, (1, 1)),
        ("padding", conv.padding, padding),
        ("groups", conv.groups, groups),
        ("bias", conv.bias is not None, bias),
    ):
        if value != expected:
            raise inexpressible(f"{part}: its {what} {value}")
    return conv


def has_activation(part: str, norm: nn.Module) -> bool:
    """Return whether an activation follows the batch norm."""
    if type(norm) is not BatchNormAct2d:
        raise inexpressible(f"{part}: its {type(norm).__name__}")
    check_children(part, norm, ("act",))
    return type(norm.act) is not nn.Identity


def activation_of(part: str, module: nn.Module) -> str:
    """Return the name of an activation."""
    kind = type(module)
    if kind not in _ACTIVATIONS:
        raise inexpressible(f"{part}: its activation {kind.__name__}")
    return _ACTIVATIONS[kind]


def same(what: str, found: Sequence[tuple[str, Any]]) -> Any:
    """Return the value that all parts share; raise ValueError if they differ."""
    first = found[0][1]
    for part, value in found:
        if value != first:
            raise ValueError(
                f"{part}: its {what} changes from {first} to {value} within the network, which an "
                "Architecture cannot express"
            )
    return first


def check_children(part: str, module: nn.Module, known: Sequence[str]) -> None:
    """Raise ValueError if a child outside `known` computes something."""
    for name, child in module.named_children():
        if name not in known and type(child) not in (nn.Identity, DropPath):
            raise inexpressible(f"{part}.{name}: its {type(child).__name__}")


def inexpressible(what: str) -> ValueError:
    """Return the error for a part of a network that an `Architecture` cannot express."""
    return ValueError(f"{what}, which an Architecture cannot express")
