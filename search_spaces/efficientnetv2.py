"""The EfficientNetV2 space (Tan & Le 2021, section 3.3): MBConv and Fused-MBConv stages.

Six stages have the widths and strides of EfficientNetV2-base. Each decides its op (mbconv or
fused), kernel k {3, 5}, expansion e {1, 4, 6}, layers l, and squeeze-and-excitation se. As in the
paper, there are no pooling skips, and the channels are not searched. The numbers of layers include
V2-base (1, 2, 2, 3, 5, 8) and V2-S (2, 4, 4, 6, 9, 15).
"""

from __future__ import annotations

from typing import Any

from search_spaces.architecture import Stage
from search_spaces.scale import round_channels
from search_spaces.staged import StagedSpace, choices_of_rows, image_settings

CHANNELS = (16, 32, 48, 96, 112, 192)
STRIDES = (1, 2, 2, 2, 1, 2)
LAYERS = (
    (1, 2),
    (1, 2, 3, 4),
    (1, 2, 3, 4),
    (1, 2, 3, 4, 5, 6),
    (1, 2, 3, 4, 5, 7, 9),
    (1, 2, 4, 6, 8, 10, 12, 15),
)
BASE = choices_of_rows(
    "op k e l se",
    [
        ("fused", 3, 1, 1, 0.0),
        ("fused", 3, 4, 2, 0.0),
        ("fused", 3, 4, 2, 0.0),
        ("mbconv", 3, 4, 3, 0.25),
        ("mbconv", 3, 6, 5, 0.25),
        ("mbconv", 3, 6, 8, 0.25),
    ],
)


def efficientnetv2(
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
    choices: dict[str, tuple] = {}
    for index, layers in enumerate(LAYERS):
        choices[f"block{index}_op"] = ("mbconv", "fused")
        choices[f"block{index}_k"] = (3, 5)
        choices[f"block{index}_e"] = (1, 4, 6)
        choices[f"block{index}_l"] = layers
        choices[f"block{index}_se"] = (0.0, 0.25)

    def stage_of(index: int, own: dict[str, Any]) -> Stage:
        channels = round_channels(CHANNELS[index], width)
        return Stage(own["op"], own["l"], own["k"], strides[index], own["e"], channels, own["se"])

    return StagedSpace(
        "efficientnetv2",
        choices,
        stage_of,
        frame=frame,
        settings=settings,
    ).with_references({"EfficientNetV2-base": BASE})
