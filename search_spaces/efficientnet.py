"""The EfficientNet-B0 space: widths and strides of B0; all other properties are decisions.

The decisions and their names are those of the ImageNet measurements of Accel-NASBench (Ahmad et
al., DAC 2024): for each of seven MBConv stages the expansion e, kernel k, layers l and
squeeze-and-excitation se. The space has 1.0e11 networks; EfficientNet-B0 is one of them.
"""

from __future__ import annotations

from typing import Any

from search_spaces.architecture import Stage
from search_spaces.scale import round_channels
from search_spaces.staged import StagedSpace, choices_of_rows, image_settings

CHANNELS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
LAYERS = ((1, 2, 3),) * 5 + ((1, 2, 3, 4), (1, 2, 3))
B0 = choices_of_rows(
    "e k l se",
    [
        (1, 3, 1, True),
        (6, 3, 2, True),
        (6, 5, 2, True),
        (6, 3, 3, True),
        (6, 5, 3, True),
        (6, 5, 4, True),
        (6, 3, 1, True),
    ],
)


def efficientnet(
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
        choices[f"block{index}_e"] = (1, 4, 6)
        choices[f"block{index}_k"] = (3, 5)
        choices[f"block{index}_l"] = layers
        choices[f"block{index}_se"] = (False, True)

    def stage_of(index: int, own: dict[str, Any]) -> Stage:
        channels = round_channels(CHANNELS[index], width)
        se = 0.25 if own["se"] else 0.0
        return Stage("mbconv", own["l"], own["k"], strides[index], own["e"], channels, se)

    return StagedSpace(
        "efficientnet",
        choices,
        stage_of,
        frame=frame,
        settings=settings,
    ).with_references({"EfficientNet-B0": B0})
