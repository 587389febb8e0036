"""The `Architecture` of a network of timm, derived from its modules.

Covers timm's EfficientNet class: EfficientNet, EfficientNetV2, EfficientNet-Lite and -EdgeTPU,
MobileNetV1 and V2, MnasNet, Single-Path NAS, TinyNet. Whatever an `Architecture` cannot express is
refused by the name of its module; modules are compared by their exact types and children, so that
a part which a later version of timm adds is refused too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timm.layers import BatchNormAct2d, DropPath, SelectAdaptivePool2d, get_act_layer
from timm.layers.conv2d_same import Conv2dSame
from timm.models._efficientnet_blocks import (
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    SqueezeExcite,
)
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn

from search_spaces.architecture import ACTIVATIONS, Architecture, Stage

_ACTIVATIONS: dict[type, str] = {get_act_layer(name): name for name in ACTIVATIONS}
# convolutions of a block in the order of its batch norms, which are bn1, bn2, ...
_CONVS: dict[type, tuple[str, ...]] = {
    ConvBnAct: ("conv",),
    DepthwiseSeparableConv: ("conv_dw", "conv_pw"),
    InvertedResidual: ("conv_pw", "conv_dw", "conv_pwl"),
    EdgeResidual: ("conv_exp", "conv_pwl"),
}
_SPATIAL = ("conv", "conv_dw", "conv_exp")
# (type, whether an activation follows each batch norm) -> op
_OPS: dict[tuple[type, tuple[bool, ...]], str] = {
    (ConvBnAct, (True,)): "fused",
    (DepthwiseSeparableConv, (True, False)): "mbconv",
    (DepthwiseSeparableConv, (True, True)): "dwsep",
    (InvertedResidual, (True, True, False)): "mbconv",
    (EdgeResidual, (True, False)): "fused",
}


@dataclass(frozen=True)
class _Layer:
    """One block of timm; `part` is its name there."""

    part: str
    op: str
    kernel: int
    stride: int
    expand: int
    in_channels: int
    channels: int
    se_channels: int
    skip: bool


def derived_architecture(
    model: nn.Module, *, resolution: int
) -> tuple[Architecture, dict[str, str]]:
    """The architecture of a network of timm, and the names of timm's blocks in it.

    model       as timm.create_model makes it, on any device, the meta device included.
    resolution  of the result, in pixels.

    A stage of timm whose blocks differ becomes several stages; therefore the names, such as
    {"blocks.1.2": "blocks.2.0"}, of all blocks. Raises ValueError, one line, that names the first
    module which an `Architecture` cannot express.
    """
    if type(model) not in (EfficientNet, MobileNetV3):
        raise ValueError(
            f"it is a {type(model).__name__}; an Architecture can be derived only from timm's "
            "EfficientNet class, such as efficientnet*, mobilenetv1*, mobilenetv2* and mnasnet*"
        )
    stem = _conv("conv_stem", model.conv_stem)
    _norm("bn1", model.bn1)
    conventions = _conventions(model)
    layers = [
        [_layer(f"blocks.{stage}.{index}", block) for index, block in enumerate(blocks)]
        for stage, blocks in enumerate(model.blocks)
    ]
    stages, names = _stages(layers)
    architecture = Architecture(
        stem=stem.out_channels,
        stages=stages,
        head=_head(model),
        resolution=resolution,
        classes=model.classifier.out_features,
        in_channels=stem.in_channels,
        stem_kernel=stem.kernel_size[0],
        stem_stride=stem.stride[0],
        **conventions,
    )
    return architecture, names


def renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors with the names of their blocks replaced."""
    found = {}
    for name, value in tensors.items():
        words = name.split(".")
        block = ".".join(words[:3])  # blocks.<stage>.<layer>
        found[".".join([names.get(block, block), *words[3:]])] = value
    return found


def _conventions(model: nn.Module) -> dict[str, Any]:
    """Activation, padding and batch norm's numbers, the same in the whole network."""
    activations: list[tuple[str, Any]] = []
    epsilons: list[tuple[str, Any]] = []
    paddings: list[tuple[str, Any]] = []
    for part, module in model.named_modules():
        if type(module) is BatchNormAct2d:
            epsilons.append((part, module.eps))
            activations.append((part, module.act))
        elif type(module) is SqueezeExcite:
            activations.append((part, module.act1))
        elif isinstance(module, nn.Conv2d) and module.stride[0] > 1 and module.kernel_size[0] > 1:
            paddings.append((part, "same" if type(module) is Conv2dSame else "symmetric"))
    return {
        "activation": _only("activation", _activations(activations)),
        "padding": _only("padding", paddings or [("conv_stem", "symmetric")]),
        "bn_eps": _only("batch norm's eps", epsilons),
        "bn_momentum": model.bn1.momentum,
    }


def _activations(modules: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, str]]:
    """Names of those that are not the identity."""
    found = []
    for part, module in modules:
        kind = type(module)
        if kind is not nn.Identity:
            if kind not in _ACTIVATIONS:
                raise _inexpressible(f"{part}: its activation {kind.__name__}")
            found.append((part, _ACTIVATIONS[kind]))
    return found


def _only(what: str, found: Sequence[tuple[str, Any]]) -> Any:
    """The value that all parts share."""
    first = found[0][1]
    for part, value in found:
        if value != first:
            raise ValueError(
                f"{part}: its {what} changes from {first} to {value} within the network, which an "
                "Architecture cannot express"
            )
    return first


def _layer(part: str, block: nn.Module) -> _Layer:
    kind = type(block)
    if kind not in _CONVS:
        raise _inexpressible(f"{part}: its block {kind.__name__}")
    names = _CONVS[kind]
    norms = [f"bn{number}" for number in range(1, len(names) + 1)]
    _check_children(part, block, (*names, *norms, "se"))
    convs = [_conv(f"{part}.{name}", getattr(block, name)) for name in names]
    active = [_norm(f"{part}.{name}", getattr(block, name)) for name in norms]
    op = _OPS.get((kind, tuple(active)))
    if op is None:
        raise _inexpressible(f"{part}: activations after {active} of its batch norms")
    spatial = convs[[name in _SPATIAL for name in names].index(True)]
    for name, conv in zip(names, convs, strict=True):
        if name not in _SPATIAL and (conv.kernel_size != (1, 1) or conv.stride != (1, 1)):
            raise _inexpressible(f"{part}.{name}: its kernel {conv.kernel_size}")
    return _Layer(
        part,
        op,
        kernel=spatial.kernel_size[0],
        stride=spatial.stride[0],
        expand=_expand(part, kind, convs),
        in_channels=convs[0].in_channels,
        channels=convs[-1].out_channels,
        se_channels=_squeezed(f"{part}.se", block),
        skip=bool(block.has_skip),
    )


def _expand(part: str, kind: type, convs: Sequence[nn.Conv2d]) -> int:
    if kind not in (InvertedResidual, EdgeResidual):
        return 1
    outer, inner = convs[0].in_channels, convs[0].out_channels
    if inner % outer or inner == outer:
        raise ValueError(
            f"{part}: it expands {outer} channels to {inner}; an Architecture can express only "
            "2, 3, 4, ... times as many"
        )
    return inner // outer


def _squeezed(part: str, block: nn.Module) -> int:
    """Channels of the squeeze-and-excitation; 0 where there is none."""
    module = getattr(block, "se", None)
    if module is None or type(module) is nn.Identity:
        return 0
    if type(module) is not SqueezeExcite:
        raise _inexpressible(f"{part}: its attention {type(module).__name__}")
    _check_children(part, module, ("conv_reduce", "act1", "conv_expand", "gate"))
    if type(module.gate) is not nn.Sigmoid:
        raise _inexpressible(f"{part}: its gate {type(module.gate).__name__}")
    return module.conv_reduce.out_channels


def _conv(part: str, conv: nn.Module) -> nn.Conv2d:
    """The convolution, if it is one of those that `search_spaces.network` has."""
    if type(conv) not in (nn.Conv2d, Conv2dSame):
        raise _inexpressible(f"{part}: its {type(conv).__name__}")
    kernel = conv.kernel_size[0]
    groups = conv.in_channels if part.endswith(".conv_dw") else 1
    padding = (0, 0) if type(conv) is Conv2dSame else (kernel // 2, kernel // 2)
    for what, value, expected in (
        ("kernel", conv.kernel_size, (kernel | 1, kernel | 1)),  # odd and square
        ("stride", conv.stride, (min(conv.stride[0], 2),) * 2),
        ("dilation", conv.dilation, (1, 1)),
        ("padding", conv.padding, padding),
        ("groups", conv.groups, groups),
        ("bias", conv.bias is not None, False),
    ):
        if value != expected:
            raise _inexpressible(f"{part}: its {what} {value}")
    return conv


def _norm(part: str, norm: nn.Module) -> bool:
    """Whether the batch norm is followed by an activation."""
    if type(norm) is not BatchNormAct2d:
        raise _inexpressible(f"{part}: its {type(norm).__name__}")
    _check_children(part, norm, ("act",))
    return type(norm.act) is not nn.Identity


def _check_children(part: str, module: nn.Module, known: Sequence[str]) -> None:
    """ValueError for a child beside the known ones that computes something."""
    for name, child in module.named_children():
        if name not in known and type(child) not in (nn.Identity, DropPath):
            raise _inexpressible(f"{part}.{name}: its {type(child).__name__}")


def _head(model: nn.Module) -> int:
    """Channels of the 1x1 convolution before the pooling; 0 for none."""
    if type(model) is not EfficientNet:
        raise _inexpressible("conv_head: its place behind the pooling")
    known = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool", "classifier")
    _check_children("network", model, known)
    pool = model.global_pool
    if type(pool) is not SelectAdaptivePool2d or pool.pool_type != "avg":
        raise _inexpressible(f"global_pool: its {pool}")
    if type(model.classifier) is not nn.Linear:
        raise _inexpressible(f"classifier: its {type(model.classifier).__name__}")
    if type(model.conv_head) is nn.Identity:
        return 0
    conv = _conv("conv_head", model.conv_head)
    if conv.kernel_size != (1, 1) or not _norm("bn2", model.bn2):
        raise _inexpressible("conv_head: its kernel, or a missing activation behind it")
    return conv.out_channels


def _stages(rows: Sequence[Sequence[_Layer]]) -> tuple[tuple[Stage, ...], dict[str, str]]:
    """As few stages as express all layers, in order, and the names of the layers in them."""
    groups: list[list[_Layer]] = []
    for row in rows:
        groups.append([])
        for layer in row:
            if groups[-1] and _stage([*groups[-1], layer]) is None:
                groups.append([])
            groups[-1].append(layer)
    stages = []
    names: dict[str, str] = {}
    for index, group in enumerate(groups):
        stage = _stage(group)
        if stage is None:
            few = group[0]
            raise _inexpressible(
                f"{few.part}.se: its {few.se_channels} channels where the block has "
                f"{few.in_channels}"
            )
        stages.append(stage)
        names |= {layer.part: f"blocks.{index}.{place}" for place, layer in enumerate(group)}
    return tuple(stages), names


def _stage(group: Sequence[_Layer]) -> Stage | None:
    """The stage of just these layers; None where it takes several."""
    first, *others = group
    alike = {(layer.op, layer.kernel, layer.expand, layer.channels) for layer in group}
    skips = {
        layer.skip for layer in group if layer.stride == 1 and layer.in_channels == layer.channels
    }
    se = _se_ratio(group)
    if len(alike) > 1 or len(skips) > 1 or se is None or any(one.stride > 1 for one in others):
        return None
    return Stage(
        op=first.op,
        layers=len(group),
        kernel=first.kernel,
        stride=first.stride,
        expand=first.expand,
        channels=first.channels,
        se=se,
        skip="none" if skips == {False} else "identity",
    )


def _se_ratio(group: Sequence[_Layer]) -> float | None:
    """A ratio to the blocks' input channels that gives every layer its channels."""
    pairs = [(layer.in_channels, layer.se_channels) for layer in group]
    if not any(squeezed for _, squeezed in pairs):
        return 0.0
    low = max((squeezed - 0.5) / channels for channels, squeezed in pairs)
    high = min((squeezed + 0.5) / channels for channels, squeezed in pairs)
    # the usual one, those of the layers, and where rounding hides it the middle of all possible
    candidates = [0.25, *(squeezed / channels for channels, squeezed in pairs), (low + high) / 2]
    for ratio in candidates:
        # as `search_spaces.architecture` computes it
        if 0 < ratio <= 1 and all(max(1, round(c * ratio)) == squeezed for c, squeezed in pairs):
            return ratio
    return None


def _inexpressible(what: str) -> ValueError:
    return ValueError(f"{what}, which an Architecture cannot express")
