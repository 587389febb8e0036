"""Published networks as plain data: name -> function that returns the `Architecture`.

The names are those of timm. The resolution of each network is that of its evaluation. Names without
"tf_" have PyTorch's conventions (symmetric padding, BN eps 1e-5, momentum 0.1). The same names with
"tf_" have the conventions of Google's weights: "same" padding, BN eps 1e-3, and TensorFlow's BN
decay (0.99 for EfficientNet, which is momentum 0.01 here; 0.9 for V2, which is 0.1). The costs of
both are equal.

Sources: MobileNetV1 arXiv:1704.04861, MobileNetV2 arXiv:1801.04381, MnasNet arXiv:1807.11626,
ResNet arXiv:1512.03385, EfficientNet arXiv:1905.11946, EfficientNetV2 arXiv:2104.00298, and
Google's code for Lite, B8, L2, V2-XL and the V2 base sizes. MobileNetV3 and V4 are in
`search_spaces.mobilenets`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from search_spaces.architecture import Architecture, Stage
from search_spaces.mobilenets import MOBILENETS
from search_spaces.scale import Rounding, scale

# one line per stage: op, kernel, stride, expand, channels, layers, se, skip
_MOBILENET_V1 = """
dwsep       3 1 1    64  1  0     none
dwsep       3 2 1   128  2  0     none
dwsep       3 2 1   256  2  0     none
dwsep       3 2 1   512  6  0     none
dwsep       3 2 1  1024  2  0     none
"""
_MOBILENET_V2 = """
mbconv      3 1 1    16  1  0     identity
mbconv      3 2 6    24  2  0     identity
mbconv      3 2 6    32  3  0     identity
mbconv      3 2 6    64  4  0     identity
mbconv      3 1 6    96  3  0     identity
mbconv      3 2 6   160  3  0     identity
mbconv      3 1 6   320  1  0     identity
"""
_MNASNET_A1 = """
mbconv      3 1 1    16  1  0     none
mbconv      3 2 6    24  2  0     identity
mbconv      5 2 3    40  3  0.25  identity
mbconv      3 2 6    80  4  0     identity
mbconv      3 1 6   112  2  0.25  identity
mbconv      5 2 6   160  3  0.25  identity
mbconv      3 1 6   320  1  0     identity
"""
_MNASNET_B1 = """
mbconv      3 1 1    16  1  0     none
mbconv      3 2 3    24  3  0     identity
mbconv      5 2 3    40  3  0     identity
mbconv      5 2 6    80  3  0     identity
mbconv      3 1 6    96  2  0     identity
mbconv      5 2 6   192  4  0     identity
mbconv      3 1 6   320  1  0     none
"""
_RESNET_50 = """
bottleneck  3 1 4   256  3  0     project
bottleneck  3 2 4   512  4  0     project
bottleneck  3 2 4  1024  6  0     project
bottleneck  3 2 4  2048  3  0     project
"""
_EFFICIENTNET = """
mbconv      3 1 1    16  1  0.25  identity
mbconv      3 2 6    24  2  0.25  identity
mbconv      5 2 6    40  2  0.25  identity
mbconv      3 2 6    80  3  0.25  identity
mbconv      5 1 6   112  3  0.25  identity
mbconv      5 2 6   192  4  0.25  identity
mbconv      3 1 6   320  1  0.25  identity
"""
_V2_BASE = """
fused       3 1 1    16  1  0     identity
fused       3 2 4    32  2  0     identity
fused       3 2 4    48  2  0     identity
mbconv      3 2 4    96  3  0.25  identity
mbconv      3 1 6   112  5  0.25  identity
mbconv      3 2 6   192  8  0.25  identity
"""
_V2_S = """
fused       3 1 1    24  2  0     identity
fused       3 2 4    48  4  0     identity
fused       3 2 4    64  4  0     identity
mbconv      3 2 4   128  6  0.25  identity
mbconv      3 1 6   160  9  0.25  identity
mbconv      3 2 6   256 15  0.25  identity
"""
_V2_M = """
fused       3 1 1    24  3  0     identity
fused       3 2 4    48  5  0     identity
fused       3 2 4    80  5  0     identity
mbconv      3 2 4   160  7  0.25  identity
mbconv      3 1 6   176 14  0.25  identity
mbconv      3 2 6   304 18  0.25  identity
mbconv      3 1 6   512  5  0.25  identity
"""
_V2_L = """
fused       3 1 1    32  4  0     identity
fused       3 2 4    64  7  0     identity
fused       3 2 4    96  7  0     identity
mbconv      3 2 4   192 10  0.25  identity
mbconv      3 1 6   224 19  0.25  identity
mbconv      3 2 6   384 25  0.25  identity
mbconv      3 1 6   640  7  0.25  identity
"""
_V2_XL = """
fused       3 1 1    32  4  0     identity
fused       3 2 4    64  8  0     identity
fused       3 2 4    96  8  0     identity
mbconv      3 2 4   192 16  0.25  identity
mbconv      3 1 6   256 24  0.25  identity
mbconv      3 2 6   512 32  0.25  identity
mbconv      3 1 6   640  8  0.25  identity
"""

# width, depth, resolution: the published numbers, which are not exact powers
EFFICIENTNET_SIZES = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
    "b8": (2.2, 3.6, 672),
    "l2": (4.3, 5.3, 800),
}
# timm uses 300 and 380 px for Lite3 and Lite4; Google's Lite code uses 280 and 300
_LITE_SIZES = {f"lite{size}": EFFICIENTNET_SIZES[f"b{size}"] for size in range(5)}
_V2_BASE_SIZES = {size: EFFICIENTNET_SIZES[size] for size in ("b0", "b1", "b2", "b3")}
# stem, rows, resolution
_V2_SIZES = {
    "s": (24, _V2_S, 384),
    "m": (24, _V2_M, 480),
    "l": (32, _V2_L, 480),
    "xl": (32, _V2_XL, 512),
}


def _network(rows: str, *, stem: int = 32, head: int = 1280, **fields: Any) -> Architecture:
    return Architecture(stem, tuple(map(_stage, rows.strip().splitlines())), head, **fields)


def _stage(row: str) -> Stage:
    op, kernel, stride, expand, channels, layers, se, skip = row.split()
    return Stage(
        op, int(layers), int(kernel), int(stride), int(expand), int(channels), float(se), skip
    )


def _resnet_50() -> Architecture:
    return _network(_RESNET_50, stem=64, head=0, stem_kernel=7, stem_pool=True, activation="relu")


def _efficientnet(size: str) -> Architecture:
    width, depth, resolution = EFFICIENTNET_SIZES[size]
    grown = scale(_network(_EFFICIENTNET), width=width, depth=depth)
    return dataclasses.replace(grown, resolution=resolution)


def _efficientnet_lite(size: str) -> Architecture:
    """B0 without squeeze-and-excitation, ReLU6, unscaled ends (tensorflow/tpu, lite/README)."""
    width, depth, resolution = _LITE_SIZES[size]
    base = _network(_EFFICIENTNET, activation="relu6")
    plain = tuple(dataclasses.replace(stage, se=0.0) for stage in base.stages)
    grown = scale(
        dataclasses.replace(base, stages=plain), width=width, depth=depth, fixed_ends=True
    )
    return dataclasses.replace(grown, resolution=resolution)


def _efficientnetv2(size: str) -> Architecture:
    if size in _V2_SIZES:
        stem, rows, resolution = _V2_SIZES[size]
        return _network(rows, stem=stem, resolution=resolution)
    width, depth, resolution = _V2_BASE_SIZES[size]
    grown = scale(_network(_V2_BASE), width=width, depth=depth, rounding=Rounding(floor=0.0))
    return dataclasses.replace(grown, resolution=resolution)


def _tensorflow(family: Callable[[str], Architecture], size: str, momentum: float) -> Architecture:
    return dataclasses.replace(family(size), padding="same", bn_eps=1e-3, bn_momentum=momentum)


_mobilenet_v1 = partial(_network, _MOBILENET_V1, head=0, activation="relu6")
_mobilenet_v2 = partial(_network, _MOBILENET_V2, activation="relu6")
_mnasnet_a1 = partial(_network, _MNASNET_A1, activation="relu")
_mnasnet_b1 = partial(_network, _MNASNET_B1, activation="relu")

_FAMILIES = (  # timm's prefix, function, sizes, TensorFlow's BN momentum
    ("efficientnet_", _efficientnet, EFFICIENTNET_SIZES, 0.01),
    ("efficientnet_", _efficientnet_lite, _LITE_SIZES, 0.01),
    ("efficientnetv2_", _efficientnetv2, _V2_BASE_SIZES | _V2_SIZES, 0.1),
)

NETWORKS: dict[str, Callable[[], Architecture]] = {
    "mobilenet_v1": _mobilenet_v1,
    "mobilenetv1_100": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenetv2_100": _mobilenet_v2,
    "mnasnet_a1": _mnasnet_a1,
    "semnasnet_100": _mnasnet_a1,
    "mnasnet_b1": _mnasnet_b1,
    "mnasnet_100": _mnasnet_b1,
    "resnet50": _resnet_50,
    **MOBILENETS,
    **{
        prefix + size: partial(family, size)
        for prefix, family, sizes, _ in _FAMILIES
        for size in sizes
    },
    **{
        f"tf_{prefix}{size}": partial(_tensorflow, family, size, momentum)
        for prefix, family, sizes, momentum in _FAMILIES
        for size in sizes
    },
}

# ImageNet top-1 accuracy in percent, single crop, from the papers
TOP1: dict[str, float] = {
    "mobilenet_v1": 70.6,
    "mobilenet_v2": 72.0,
    "mobilenetv3_large_100": 75.2,
    "mobilenetv3_small_100": 67.4,
    "mobilenetv4_conv_small": 73.8,
    "mobilenetv4_conv_medium": 79.9,
    "mobilenetv4_conv_large": 82.9,
    "mnasnet_a1": 75.2,
    "resnet50": 76.0,
    "efficientnet_b0": 77.1,
    "efficientnet_b1": 79.1,
    "efficientnet_b2": 80.1,
    "efficientnet_b3": 81.6,
    "efficientnet_b4": 82.9,
    "efficientnet_b5": 83.6,
    "efficientnet_b6": 84.0,
    "efficientnet_b7": 84.3,
    "efficientnetv2_s": 83.9,
    "efficientnetv2_m": 85.2,
    "efficientnetv2_l": 85.7,
}
