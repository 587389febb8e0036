"""An architecture in timm's words: block strings, and the description that timm rebuilds it from.

timm's EfficientNet is made from strings like "ir_r2_k3_s2_e6_c24_se0.25" (inverted residual,
two of them, kernel 3, stride 2, expansion 6, 24 channels, squeeze-and-excitation 0.25 of the
block's input; `timm.models._efficientnet_builder._decode_block_str` has the language). It can say
most of what an `Architecture` can; what it cannot is refused here rather than built wrongly.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture, Block
from train.export.programs import TIMM
from vbs.text import quoted

if TYPE_CHECKING:
    from torch import nn

INSTEAD = "export --to onnx, torchscript or safetensors instead"


def block_strings(architecture: Architecture) -> list[list[str]]:
    """timm's block strings, a list for each stage; usually one string, which has the layers.

    Raises ValueError, one line, that names the first thing which timm's builder cannot express.
    """
    stages: list[list[str]] = []
    blocks = (block for block in architecture.blocks() if block.stage >= 0)
    for index, members in itertools.groupby(blocks, key=lambda block: block.stage):
        layers = list(members)
        skips = architecture.stages[index].skip
        share = architecture.stages[index].se
        words = [_words(block, skips, _se(block, share)) for block in layers]
        strings, stride = [], layers[0].stride
        for (kind, rest), equal in itertools.groupby(words):
            # timm strides in the first block of a stage only, as we do
            strings.append(f"{kind}_r{len(list(equal))}_{rest.format(stride=stride)}")
            stride = 1
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
    """Plain data from which `timm_network` rebuilds the network; the content of timm.json.

    `model` holds keywords of timm's EfficientNet, `pretrained_cfg` is what timm's data functions
    read the preprocessing from. Raises ValueError where timm cannot express the network.
    """
    if architecture.stem_pool:
        raise _inexpressible("the max pool behind the stem (stem_pool)")
    side = resolution or architecture.resolution
    return {
        "arch_def": block_strings(architecture),
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
    """Keywords of timm's EfficientNet besides its blocks and layers."""
    return {
        "num_classes": architecture.classes,
        "num_features": architecture.head,
        "in_chans": architecture.in_channels,
        "stem_size": architecture.stem,
        "stem_kernel_size": architecture.stem_kernel,
        # timm turns strides beyond its 32 into dilations
        "output_stride": max(32, 2 * math.prod(s.stride for s in architecture.stages)),
        "pad_type": "same" if architecture.padding == "same" else "",
    }


def timm_network(description: Mapping[str, Any]) -> nn.Module:
    """The network of a `timm_description`, built by timm alone, with fresh weights.

    The source of this function is written into every timm export: it imports all it needs.
    """
    from timm.layers import get_act_layer
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet
    from torch.nn import BatchNorm2d

    eps, momentum = description["bn_eps"], description["bn_momentum"]
    network = EfficientNet(
        decode_arch_def(description["arch_def"]),
        act_layer=get_act_layer(description["act_layer"]),
        norm_layer=partial(BatchNorm2d, eps=eps, momentum=momentum),
        round_chs_fn=int,  # channels as they are written, not rounded to multiples of 8
        **description["model"],
    )
    if description["stem_stride"] == 1:  # timm's stem always strides
        network.conv_stem.stride = (1, 1)
        for level in network.feature_info:
            level["reduction"] //= 2
    network.pretrained_cfg = dict(description["pretrained_cfg"])
    return network


def timm_program() -> str:
    """A Python program for the folder of timm.json and model.safetensors, to run or to paste."""
    return TIMM.replace("FUNCTION", inspect.getsource(timm_network))


def _words(block: Block, skip: str, se: str) -> tuple[str, str]:
    """The kind of a block and the rest of its string, with a place for the stride."""
    if block.op in ("identity", "bottleneck"):
        raise _inexpressible(f"op {quoted(block.op)}", block)
    if block.skip in ("pool", "project"):
        raise _inexpressible(f"skip {quoted(block.skip)}", block)
    rest = f"k{block.kernel}_s{{stride}}"
    flag = "_noskip" if skip == "none" else ""
    tail = f"_c{block.out_channels}{se}"
    if block.op == "conv":
        if block.se_channels:
            raise _inexpressible("squeeze-and-excitation in a plain convolution", block)
        # timm's convolution has a shortcut only where requested, all others unless switched off
        return "cn", rest + tail + ("" if skip == "none" else "_skip")
    if block.op == "dwsep":
        if block.skip != "none":
            raise _inexpressible("op 'dwsep' with a shortcut", block)
        return "dsa", rest + tail
    if block.op == "mbconv" and block.mid_channels == block.in_channels:
        return "ds", rest + tail + flag
    if block.mid_channels % 8:
        raise _inexpressible(
            f"{block.mid_channels} channels inside a block (timm rounds them to multiples of 8)",
            block,
        )
    expand = block.mid_channels // block.in_channels
    return {"mbconv": "ir", "fused": "er"}[block.op], f"{rest}_e{expand}{tail}{flag}"


def _se(block: Block, share: float) -> str:
    """The se part of a block's string, such that timm comes to the very number of channels."""
    if not block.se_channels:
        return ""
    expand = block.mid_channels / block.in_channels
    for ratio in (share, block.se_channels / block.in_channels):
        # timm's arithmetic: of the channels inside, with the ratio over the expansion
        if round(block.mid_channels * (ratio / expand)) == block.se_channels:
            return f"_se{ratio!r}"
    raise _inexpressible(f"squeeze-and-excitation of {block.se_channels} channels", block)


def _inexpressible(what: str, block: Block | None = None) -> ValueError:
    where = f"stages[{block.stage}]: " if block else ""
    return ValueError(f"{where}timm's builder cannot express {what}; {INSTEAD}")
