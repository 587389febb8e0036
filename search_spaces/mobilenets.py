"""MobileNetV3 and MobileNetV4 as plain data, in timm's block strings.

Sources: MobileNetV3 arXiv:1905.02244, MobileNetV4 arXiv:2404.10518, and timm's mobilenetv3.py. A
string such as "uir_r1_a5_k3_s2_e4_c96" is one stage: kind (cn: convolution; ds: depthwise
separable; ir: inverted residual; er: Fused-MBConv; uir: universal inverted bottleneck), r layers,
a and k kernels, s stride, e expansion, c channels, se squeeze-and-excitation, nre: ReLU. The
strings of one line form one group of modules (`Stage.joined`).
"""

from __future__ import annotations

import re
from functools import partial

from search_spaces.architecture import Architecture, Stage

_V3_LARGE = """
ds_r1_k3_s1_c16_nre
ir_r1_k3_s2_e4_c24_nre ir_r1_k3_s1_e3_c24_nre
ir_r3_k5_s2_e3_c40_se0.25_nre
ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80
ir_r2_k3_s1_e6_c112_se0.25
ir_r3_k5_s2_e6_c160_se0.25
cn_r1_k1_s1_c960
"""
_V3_SMALL = """
ds_r1_k3_s2_c16_se0.25_nre
ir_r1_k3_s2_e4.5_c24_nre ir_r1_k3_s1_e3.67_c24_nre
ir_r1_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25
ir_r2_k5_s1_e3_c48_se0.25
ir_r3_k5_s2_e6_c96_se0.25
cn_r1_k1_s1_c576
"""
_V4_SMALL = """
cn_r1_k3_s2_c32 cn_r1_k1_s1_c32
cn_r1_k3_s2_c96 cn_r1_k1_s1_c64
uir_r1_a5_k5_s2_e3_c96 uir_r4_a0_k3_s1_e2_c96 uir_r1_a3_k0_s1_e4_c96
uir_r1_a3_k3_s2_e6_c128 uir_r1_a5_k5_s1_e4_c128 uir_r1_a0_k5_s1_e4_c128 \
uir_r1_a0_k5_s1_e3_c128 uir_r2_a0_k3_s1_e4_c128
cn_r1_k1_s1_c960
"""
_V4_MEDIUM = """
er_r1_k3_s2_e4_c48
uir_r1_a3_k5_s2_e4_c80 uir_r1_a3_k3_s1_e2_c80
uir_r1_a3_k5_s2_e6_c160 uir_r2_a3_k3_s1_e4_c160 uir_r1_a3_k5_s1_e4_c160 uir_r1_a3_k3_s1_e4_c160 \
uir_r1_a3_k0_s1_e4_c160 uir_r1_a0_k0_s1_e2_c160 uir_r1_a3_k0_s1_e4_c160
uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256 uir_r1_a0_k0_s1_e4_c256 \
uir_r1_a3_k0_s1_e4_c256 uir_r1_a3_k5_s1_e2_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a0_k0_s1_e4_c256 \
uir_r1_a5_k0_s1_e2_c256
cn_r1_k1_s1_c960
"""
_V4_LARGE = """
er_r1_k3_s2_e4_c48
uir_r1_a3_k5_s2_e4_c96 uir_r1_a3_k3_s1_e4_c96
uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192 uir_r5_a5_k3_s1_e4_c192 \
uir_r1_a3_k0_s1_e4_c192
uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r2_a5_k0_s1_e4_c512 \
uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512 uir_r3_a5_k0_s1_e4_c512
cn_r1_k1_s1_c960
"""

_OPS = {"cn": "fused", "ds": "mbconv", "ir": "mbconv", "er": "fused", "uir": "uib"}


def stages_of(lines: str) -> tuple[Stage, ...]:
    """Return the stages of block strings; each line is a group of modules."""
    return tuple(
        _stage(text, joined=place > 0)
        for line in lines.strip().splitlines()
        for place, text in enumerate(line.split())
    )


def _stage(text: str, *, joined: bool) -> Stage:
    kind, *words = text.split("_")
    found = dict(re.findall(r"([a-z]+?)(re|[\d.]+)", " ".join(words)))
    expand = float(found.get("e", 1))
    return Stage(
        _OPS[kind],
        int(found["r"]),
        int(found["k"]),
        int(found["s"]),
        expand if expand % 1 else int(expand),
        int(found["c"]),
        float(found.get("se", 0)),
        "none" if kind == "cn" else "identity",  # timm's plain convolutions have no shortcut
        start_kernel=int(found.get("a", 0)),
        activation="relu" if "n" in found else "",
        gate="hard_sigmoid" if "se" in found else "sigmoid",
        joined=joined,
    )


def mobilenetv3(lines: str, *, head: int) -> Architecture:
    """Return a MobileNetV3, from its block strings and its number of head channels."""
    return Architecture(16, stages_of(lines), head, activation="hard_swish", head_form="pooled")


def mobilenetv4(lines: str, *, stem: int, resolution: int) -> Architecture:
    """Return a convolutional MobileNetV4 (Conv-S, Conv-M, Conv-L)."""
    return Architecture(
        stem,
        stages_of(lines),
        1280,
        resolution=resolution,
        activation="relu",
        head_form="pooled_norm",
    )


MOBILENETS = {
    "mobilenetv3_large_100": partial(mobilenetv3, _V3_LARGE, head=1280),
    "mobilenetv3_small_100": partial(mobilenetv3, _V3_SMALL, head=1024),
    "mobilenetv4_conv_small": partial(mobilenetv4, _V4_SMALL, stem=32, resolution=224),
    "mobilenetv4_conv_medium": partial(mobilenetv4, _V4_MEDIUM, stem=32, resolution=256),
    "mobilenetv4_conv_large": partial(mobilenetv4, _V4_LARGE, stem=24, resolution=384),
}
