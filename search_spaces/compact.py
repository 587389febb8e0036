"""The compact space: four wide stages instead of seven, for small budgets and small images.

Each stage is MBConv or Fused-MBConv (Tan & Le 2021) with its own expansion e, layers l and width w.
At a few million FLOPs, networks of fifteen narrow layers, such as a narrowed B0, learn little in
minutes of training. The networks of this space are shallow, may use dense convolutions, and are
fast on a CPU. They have neither squeeze-and-excitation nor kernels larger than 3x3, because both
take more time on a CPU than their FLOPs suggest.
"""

from __future__ import annotations

from typing import Any

from search_spaces.architecture import Stage
from search_spaces.scale import round_channels
from search_spaces.staged import StagedSpace, image_settings

CHANNELS = (16, 32, 64, 96)
STRIDES = (2, 2, 2, 2)
STEM, HEAD = 16, 256


def compact(
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
    frame |= {"stem": round_channels(STEM, width), "head": round_channels(HEAD, width)}
    choices: dict[str, tuple] = {}
    for index in range(len(CHANNELS)):
        choices[f"block{index}_op"] = ("mbconv", "fused")
        choices[f"block{index}_e"] = (1, 2, 4)
        choices[f"block{index}_l"] = (1, 2, 3)
        choices[f"block{index}_w"] = (0.5, 0.75, 1.0, 1.5)

    def stage_of(index: int, own: dict[str, Any]) -> Stage:
        channels = round_channels(CHANNELS[index], width * own["w"])
        return Stage(own["op"], own["l"], 3, strides[index], own["e"], channels, se=0.0)

    return StagedSpace("compact", choices, stage_of, frame=frame, settings=settings)
