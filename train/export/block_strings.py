"""Conversion of an architecture to timm's block strings, and to a description for timm.

timm's EfficientNet is defined by strings like "ir_r2_k3_s2_e6_c24_se0.25" (inverted residual, two
of them, kernel 3, stride 2, expansion 6, 24 channels, squeeze-and-excitation 0.25 of the block's
input; `timm.models._efficientnet_builder._decode_block_str` defines the language). Networks whose
head follows the pooling belong to timm's MobileNetV3 class. The strings can express most
architectures; for others, ValueError is raised.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture, Block, Stage, multiple_of_8
from train.export.programs import TIMM
from vbs.text import quoted

if TYPE_CHECKING:
    from torch import nn

INSTEAD = "export --to onnx, torchscript or safetensors instead"


def block_strings(architecture: Architecture) -> list[list[str]]:
    """Return timm's block strings: a list for each stage, including the stages joined to it.

    A list usually has one string for all layers. Raises ValueError (one line) for the first part
    that timm's builder cannot express.
    """
    stages: list[list[str]] = []
    blocks = (block for block in architecture.blocks() if block.stage >= 0)
    for index, members in itertools.groupby(blocks, key=lambda block: block.stage):
        layers = list(members)
        stage = architecture.stages[index]
        if stage.joined and stage.stride > 1:
            raise _inexpressible("a stride within one of its stages (joined)", layers[0])
        words = [_words(block, stage) for block in layers]
        strings, stride = [], layers[0].stride
        for (kind, rest), equal in itertools.groupby(words):
            # timm's stages stride only in their first block, like the stages here
            strings.append(f"{kind}_r{len(list(equal))}_{rest.format(stride=stride)}")
            stride = 1
        if stage.joined:
            stages[-1] += strings
        else:
            stages.append(strings)
    return stages


def timm_description(
    architecture: Architecture,
    *,
    classes: Sequence[str] = (),
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    resolution: int | None = None,
    crop_share: float = 1.0,
) -> dict[str, Any]:
    """Return plain data from which `timm_network` rebuilds the network; the content of timm.json.

    `model` holds keywords of timm's class, `pretrained_cfg` the preprocessing for timm's data
    functions. Raises ValueError if timm cannot express the network.
    """
    if architecture.stem_pool:
        raise _inexpressible("the max pool behind the stem (stem_pool)")
    side = resolution or architecture.resolution
    return {
        "class": "EfficientNet" if architecture.head_form == "spatial" else "MobileNetV3",
        "arch_def": block_strings(architecture),
        "gate": _gate(architecture),
        "act_layer": architecture.activation,
        "bn_eps": architecture.bn_eps,
        "bn_momentum": architecture.bn_momentum,
        "stem_stride": architecture.stem_stride,
        "model": _keywords(architecture),
        "pretrained_cfg": {
            "num_classes": architecture.classes,
            "input_size": [architecture.in_channels, side, side],
            "mean": list(mean),
            "std": list(std),
            "crop_pct": crop_share,
            "interpolation": "bilinear",
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
        "classes": list(classes),
    }


def _keywords(architecture: Architecture) -> dict[str, Any]:
    """Return the keywords of timm's class except its blocks and layers."""
    found = {
        "num_classes": architecture.classes,
        "num_features": architecture.head,
        "in_chans": architecture.in_channels,
        "stem_size": architecture.stem,
        "pad_type": "same" if architecture.padding == "same" else "",
    }
    # timm turns strides beyond output_stride (default 32) into dilations
    stride = 2 * math.prod(stage.stride for stage in architecture.stages)
    if architecture.head_form == "spatial":
        stem = {"stem_kernel_size": architecture.stem_kernel}
        return {**found, **stem, "output_stride": max(32, stride)}
    if architecture.stem_kernel != 3:
        raise _inexpressible(f"a stem kernel of {architecture.stem_kernel} with a pooled head")
    if stride > 32:
        raise _inexpressible(f"a stride of {stride} with a pooled head")
    norm = architecture.head_form == "pooled_norm"
    return {**found, "head_norm": norm, "head_bias": not norm, "se_from_exp": False}


def _gate(architecture: Architecture) -> str:
    """Return the gate of all squeeze-and-excitation modules."""
    gates = {stage.gate for stage in architecture.stages if stage.se}
    if len(gates) > 1:
        raise _inexpressible("squeeze-and-excitation with several kinds of gates")
    return gates.pop() if gates else "sigmoid"


def timm_network(description: Mapping[str, Any]) -> nn.Module:
    """Build the network of a `timm_description` with timm alone, with random weights.

    Every timm export contains the source of this function, so it imports everything it needs.
    """
    from timm.layers import get_act_layer
    from timm.models._efficientnet_blocks import SqueezeExcite
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.efficientnet import EfficientNet
    from timm.models.mobilenetv3 import MobileNetV3
    from torch.nn import BatchNorm2d, ReLU

    eps, momentum = description["bn_eps"], description["bn_momentum"]
    squeeze = SqueezeExcite
    if description["gate"] == "hard_sigmoid":
        squeeze = partial(
            squeeze,
            gate_layer="hard_sigmoid",
            force_act_layer=ReLU,
            rd_round_fn=round_channels,
        )
    network = {"EfficientNet": EfficientNet, "MobileNetV3": MobileNetV3}[description["class"]](
        decode_arch_def(description["arch_def"]),
        se_layer=squeeze,
        act_layer=get_act_layer(description["act_layer"]),
        norm_layer=partial(BatchNorm2d, eps=eps, momentum=momentum),
        round_chs_fn=int,  # channels as given, not rounded to multiples of 8
        **description["model"],
    )
    if description["stem_stride"] == 1:  # timm's stem always strides
        network.conv_stem.stride = (1, 1)
        for level in network.feature_info:
            level["reduction"] //= 2
    network.pretrained_cfg = dict(description["pretrained_cfg"])
    return network


def timm_program() -> str:
    """Return a Python program for the folder of timm.json and model.safetensors."""
    return TIMM.replace("FUNCTION", inspect.getsource(timm_network))


_ACTIVATIONS = {"": "", "relu": "_nre", "relu6": "_nr6", "hard_swish": "_nhs", "silu": "_nsw"}


def _words(block: Block, stage: Stage) -> tuple[str, str]:
    """Return the kind of a block and the rest of its string, with "{stride}" for the stride."""
    skip = stage.skip
    if block.op in ("identity", "bottleneck"):
        raise _inexpressible(f"op {quoted(block.op)}", block)
    if block.skip in ("pool", "project"):
        raise _inexpressible(f"skip {quoted(block.skip)}", block)
    rest = f"k{block.kernel}_s{{stride}}"
    flag = "_noskip" if skip == "none" else ""
    expand = _expand(block, stage.expand)
    se = _se(block, stage.se, expand)
    tail = f"_c{block.out_channels}{se}{_ACTIVATIONS[block.activation]}"
    if block.op == "conv":
        if block.se_channels:
            raise _inexpressible("squeeze-and-excitation in a plain convolution", block)
        # in timm, a convolution has no shortcut by default, and all other blocks have one
        return "cn", rest + tail + ("" if skip == "none" else "_skip")
    if block.op == "dwsep":
        if block.skip != "none":
            raise _inexpressible("op 'dwsep' with a shortcut", block)
        return "dsa", rest + tail
    if block.op == "mbconv" and block.mid_channels == block.in_channels:
        return "ds", rest + tail + flag
    kind = {"mbconv": "ir", "fused": "er", "uib": "uir"}[block.op]
    start = f"a{block.start_kernel}_" if block.op == "uib" else ""
    return kind, f"{start}{rest}_e{expand!r}{tail}{flag}"


def _expand(block: Block, share: float) -> float:
    """Return the expansion from which timm computes the block's inner channels; 1: none."""
    if block.mid_channels == block.in_channels and block.op not in ("fused", "uib"):
        return 1
    for expand in (share, block.mid_channels / block.in_channels):
        if multiple_of_8(block.in_channels * expand) == block.mid_channels:
            return expand
    raise _inexpressible(
        f"{block.mid_channels} channels inside a block (timm rounds them to multiples of 8)", block
    )


def _se(block: Block, share: float, expand: float) -> str:
    """Return the "se" part of a block's string, from which timm computes the number of channels."""
    if not block.se_channels:
        return ""
    hard = block.gate == "hard_sigmoid"
    rounded: Callable[[float], int] = multiple_of_8 if hard else round
    exact = block.se_channels / block.mid_channels
    for ratio in (share * expand if hard else share, exact * expand):
        # timm multiplies the inner channels by the ratio divided by the expansion
        if rounded(block.mid_channels * (ratio / expand)) == block.se_channels:
            return f"_se{ratio!r}"
    raise _inexpressible(f"squeeze-and-excitation of {block.se_channels} channels", block)


def _inexpressible(what: str, block: Block | None = None) -> ValueError:
    where = f"stages[{block.stage}]: " if block else ""
    return ValueError(f"{where}timm's builder cannot express {what}; {INSTEAD}")
