"""Conversion of networks of timm to an `Architecture`, derived from their modules.

Supports timm's EfficientNet class (EfficientNet, EfficientNetV2, EfficientNet-Lite and -EdgeTPU,
MobileNetV1 and V2, MnasNet, Single-Path NAS, TinyNet) and its MobileNetV3 class (MobileNetV3,
LCNet, the convolutional MobileNetV4). Modules that an `Architecture` cannot express are rejected by
name. Modules are compared by their exact types and children, so that parts that a later version of
timm adds are rejected too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from timm.layers import BatchNormAct2d, Linear, SelectAdaptivePool2d
from timm.layers.conv2d_same import Conv2dSame
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from search_spaces.architecture import Architecture, Stage, multiple_of_8
from train.timm_blocks import (
    Layer,
    activation_of,
    check_children,
    conv_of,
    has_activation,
    inexpressible,
    layer_of,
    same,
)


def derived_architecture(model: nn.Module, *, resolution: int) -> Architecture:
    """Return the architecture of a network of timm; its tensors have the same names in both.

    model       from timm.create_model, on any device, including the meta device.
    resolution  resolution of the architecture, in pixels.

    A stage of timm whose blocks differ becomes several stages that are joined. Raises ValueError
    (one line) for the first module that an `Architecture` cannot express.
    """
    if type(model) not in (EfficientNet, MobileNetV3):
        raise ValueError(
            f"it is a {type(model).__name__}; an Architecture can be derived only from timm's "
            "EfficientNet and MobileNetV3 classes, such as efficientnet*, mobilenetv* and mnasnet*"
        )
    stem = conv_of("conv_stem", model.conv_stem)
    if not has_activation("bn1", model.bn1):
        raise inexpressible("bn1: a missing activation after it")
    conventions = _conventions(model)
    activation = conventions["activation"]
    layers = [
        [layer_of(f"blocks.{stage}.{index}", block) for index, block in enumerate(blocks)]
        for stage, blocks in enumerate(model.blocks)
    ]
    return Architecture(
        stem=stem.out_channels,
        stages=_stages(layers, activation),
        resolution=resolution,
        classes=model.classifier.out_features,
        in_channels=stem.in_channels,
        stem_kernel=stem.kernel_size[0],
        stem_stride=stem.stride[0],
        **_head(model, activation),
        **conventions,
    )


def _conventions(model: nn.Module) -> dict[str, Any]:
    """Return padding, batch-norm settings and activation, which the whole network shares."""
    epsilons: list[tuple[str, Any]] = []
    paddings: list[tuple[str, Any]] = []
    for part, module in model.named_modules():
        if type(module) is BatchNormAct2d:
            epsilons.append((part, module.eps))
        elif isinstance(module, nn.Conv2d) and module.stride[0] > 1 and module.kernel_size[0] > 1:
            paddings.append((part, "same" if type(module) is Conv2dSame else "symmetric"))
    return {
        "activation": activation_of("bn1", model.bn1.act),
        "padding": same("padding", paddings or [("conv_stem", "symmetric")]),
        "bn_eps": same("batch norm's eps", epsilons),
        "bn_momentum": model.bn1.momentum,
    }


def _head(model: nn.Module, activation: str) -> dict[str, Any]:
    """Return channels and form of the 1x1 convolution before the classifier; 0 if none."""
    late = type(model) is MobileNetV3
    behind = ("norm_head", "act2", "flatten") if late else ("bn2",)
    known = ("conv_stem", "bn1", "blocks", "conv_head", *behind, "global_pool", "classifier")
    check_children("network", model, known)
    pool = model.global_pool
    if type(pool) is not SelectAdaptivePool2d or pool.pool_type != "avg":
        raise inexpressible(f"global_pool: its {pool}")
    if type(model.classifier) not in (nn.Linear, Linear):
        raise inexpressible(f"classifier: its {type(model.classifier).__name__}")
    if type(model.conv_head) is nn.Identity and not late:
        return {"head": 0}
    norm = model.norm_head if late else model.bn2
    bare = late and type(norm) is nn.Identity
    conv = conv_of("conv_head", model.conv_head, bias=bare)
    if conv.kernel_size != (1, 1) or not (bare or has_activation("bn2", norm)):
        raise inexpressible("conv_head: its kernel, or a missing activation after it")
    if late and not bare and type(model.act2) is not nn.Identity:
        raise inexpressible("act2: a second activation in the head")
    found = activation_of("conv_head", model.act2 if bare else norm.act)
    same("activation", [("bn1", activation), ("conv_head", found)])
    form = "spatial" if not late else "pooled" if bare else "pooled_norm"
    return {"head": conv.out_channels, "head_form": form}


def _stages(rows: Sequence[Sequence[Layer]], activation: str) -> tuple[Stage, ...]:
    """Return the fewest stages that express all layers, in order; stages of a row are joined."""
    groups: list[tuple[list[Layer], bool]] = []
    for row in rows:
        for index, layer in enumerate(row):
            if index == 0 or _stage([*groups[-1][0], layer], activation, joined=False) is None:
                groups.append(([], index > 0))
            groups[-1][0].append(layer)
    stages = []
    for group, joined in groups:
        stage = _stage(group, activation, joined=joined)
        if stage is None:
            few = group[0]
            raise inexpressible(
                f"{few.part}.se: its {few.se_channels} channels where the block has "
                f"{few.in_channels}"
            )
        stages.append(stage)
    return tuple(stages)


def _stage(group: Sequence[Layer], activation: str, *, joined: bool) -> Stage | None:
    """Return one stage of these layers; None if it would take several."""
    first, *others = group
    alike = {
        (
            *(layer.op, layer.kernel, layer.start_kernel, layer.expand, layer.channels),
            *(layer.gate, layer.activation),
        )
        for layer in group
    }
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
        start_kernel=first.start_kernel,
        activation="" if first.activation == activation else first.activation,
        gate=first.gate,
        joined=joined,
    )


def _se_ratio(group: Sequence[Layer]) -> float | None:
    """Return a ratio that gives every layer its channels, as `search_spaces.architecture` does.

    The ratio is to the block's input channels, or with a hard gate to its expanded channels.
    """
    hard = group[0].gate == "hard_sigmoid"
    pairs = [
        (layer.mid_channels if hard else layer.in_channels, layer.se_channels) for layer in group
    ]
    if not any(squeezed for _, squeezed in pairs):
        return 0.0
    rounded: Callable[[float], int] = multiple_of_8 if hard else lambda c: max(1, round(c))
    low = max((squeezed - 0.5) / channels for channels, squeezed in pairs)
    high = min((squeezed + 0.5) / channels for channels, squeezed in pairs)
    # the usual ratio, the layers' ratios, and the middle of the range that rounding allows
    candidates = [0.25, *(squeezed / channels for channels, squeezed in pairs), (low + high) / 2]
    for ratio in candidates:
        if 0 < ratio <= 1 and all(rounded(c * ratio) == squeezed for c, squeezed in pairs):
            return ratio
    return None
