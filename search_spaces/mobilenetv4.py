"""A space of MobileNetV4-like networks (Qin et al. 2024, arXiv:2404.10518).

A network is a fused stage, five stages of universal inverted bottlenecks and a 1x1 convolution,
with the strides and channels of MobileNetV4-Conv-M. Each of the five stages decides the form of its
blocks (op), the kernel a {3, 5} before the expansion and the kernel k {3, 5} after it (if the form
has them), the expansion e, layers l and width w (relative to the paper's). The forms are:

    extra_dw      both kernels
    convnext      only the kernel before the expansion
    bottleneck    only the kernel after the expansion: the inverted bottleneck
    feed_forward  no kernel; not in stages with a stride of 2

In the paper, blocks at the same resolution have different forms. Therefore this space has two
stages at each of the last two resolutions; two stages with equal widths act as one stage with two
block forms. The search space of the paper was not published. The convolutional networks of the
paper are in `search_spaces.zoo`.
"""

from __future__ import annotations

from typing import Any

from search_spaces.architecture import Stage
from search_spaces.scale import round_channels
from search_spaces.staged import StagedSpace, image_settings

CHANNELS = (48, 80, 160, 160, 256, 256, 960)
STRIDES = (2, 2, 2, 1, 2, 1, 1)
UIB = (1, 2, 3, 4, 5)  # stages of universal inverted bottlenecks
LAYERS = {1: (1, 2, 3), 2: (1, 2, 3), 3: (1, 2, 4, 6), 4: (1, 2, 3, 4), 5: (1, 2, 4, 6, 8)}
WIDTHS = (0.5, 0.75, 1.0, 1.25)
STARTING, MIDDLE = ("extra_dw", "convnext"), ("extra_dw", "bottleneck")
# Conv-M with one block form per stage
_ROWS = {
    1: ("extra_dw", 3, 5, 4, 2, 1.0),
    2: ("extra_dw", 3, 5, 6, 1, 1.0),
    3: ("extra_dw", 3, 3, 4, 6, 1.0),
    4: ("extra_dw", 5, 5, 4, 4, 1.0),
    5: ("convnext", 5, 3, 4, 6, 1.0),
}
NEAR_CONV_M = {
    "block0_e": 4,
    "block0_w": 1.0,
    **{
        f"block{index}_{letter}": option
        for index, row in _ROWS.items()
        for letter, option in zip(("op", "a", "k", "e", "l", "w"), row, strict=True)
    },
    "block6_w": 1.0,
}


def mobilenetv4(
    *, resolution: int = 224, classes: int = 1000, width: float = 1.0, small_images: bool = False
) -> StagedSpace:
    """Return the space; the arguments are those of `search_spaces.catalog.space`."""
    settings, strides, frame = image_settings(
        resolution=resolution,
        classes=classes,
        width=width,
        small_images=small_images,
        strides=STRIDES,
    )
    frame |= {"activation": "relu", "head_form": "pooled_norm"}
    choices: dict[str, tuple] = {"block0_e": (1, 2, 4), "block0_w": WIDTHS}
    only_if: dict[str, tuple[str, tuple]] = {}
    for index in UIB:
        forms = ("extra_dw", "convnext", "bottleneck")
        op = f"block{index}_op"
        choices[op] = forms if STRIDES[index] == 2 else (*forms, "feed_forward")
        choices[f"block{index}_a"] = (3, 5)
        choices[f"block{index}_k"] = (3, 5)
        choices[f"block{index}_e"] = (2, 4, 6)
        choices[f"block{index}_l"] = LAYERS[index]
        choices[f"block{index}_w"] = WIDTHS
        only_if[f"block{index}_a"] = (op, STARTING)
        only_if[f"block{index}_k"] = (op, MIDDLE)
    choices["block6_w"] = WIDTHS

    def stage_of(index: int, own: dict[str, Any]) -> Stage:
        channels = round_channels(CHANNELS[index], own["w"] * width)
        if index == 0:
            return Stage("fused", 1, 3, strides[0], own["e"], channels, se=0.0)
        if index not in UIB:
            return Stage("fused", 1, 1, strides[index], 1, channels, se=0.0, skip="none")
        return Stage(
            "uib",
            own["l"],
            own["k"] if own["op"] in MIDDLE else 0,
            strides[index],
            own["e"],
            channels,
            se=0.0,
            start_kernel=own["a"] if own["op"] in STARTING else 0,
        )

    return StagedSpace(
        "mobilenetv4",
        choices,
        stage_of,
        frame=frame,
        only_if=only_if,
        settings=settings,
    ).with_references({"near MobileNetV4-Conv-M": NEAR_CONV_M})
