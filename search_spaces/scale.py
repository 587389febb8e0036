"""Scaling of an architecture's depth, width and resolution, with the published rounding.

Source: Tan & Le 2019 (EfficientNet), section 3.3, and `round_filters` and `round_repeats` of
tensorflow/tpu's efficientnet_model.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.architecture import Architecture, Stage
from vbs.text import quoted

MOST = 1_000_000  # upper limit of factors, as of all numbers in an architecture


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Rounding of scaled channels.

    round_to  channels are a multiple of this number.
    floor     smallest share of the exact number that rounding down may leave, 0 to 1; otherwise
              the next multiple is used.

    Raises ValueError for a `round_to` below 1 or a `floor` outside [0, 1].
    """

    round_to: int = 8
    floor: float = 0.9

    def __post_init__(self) -> None:
        step, floor = self.round_to, self.floor
        if isinstance(step, bool) or not isinstance(step, int) or step < 1:
            raise ValueError(f"round_to: {quoted(step)} is not allowed; use a whole number from 1")
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 <= floor <= 1:
            raise ValueError(f"floor: {quoted(floor)} is not allowed; use a number from 0 to 1")


PUBLISHED = Rounding()  # rounding of EfficientNet and MobileNet


def scale(
    architecture: Architecture,
    *,
    depth: float = 1.0,
    width: float = 1.0,
    resolution: float = 1.0,
    rounding: Rounding = PUBLISHED,
    fixed_ends: bool = False,
) -> Architecture:
    """Return the architecture with its layers, channels and input side multiplied.

    depth       factor of layers: every stage has ceil(depth * layers), as published, in floating
                point, so that 1.1 * 10 gives 12. For joined stages the sum of their layers is
                scaled and then divided among them, as in timm.
    width       factor of the channels of stem, stages and head, rounded by `rounding`. For a
                bottleneck, the inner channels are rounded; the output channels are `expand` times
                as many.
    resolution  factor of the input side, rounded to the nearest pixel (for an exact side use
                new side / old side, or `dataclasses.replace`).
    fixed_ends  keep stem, head, and the layers of the first and the last stage (EfficientNet-Lite;
                MobileNetV2 in timm's "d" variants).

    EfficientNetV2-B1 to B3 need Rounding(floor=0.0). Raises ValueError with the factor and its
    value.
    """
    _positive("depth", depth)
    _positive("resolution", resolution)
    _positive("width", width)
    ends = 1.0 if fixed_ends else width
    channels = stem = round_channels(architecture.stem, ends, rounding)
    stages = []
    last = len(architecture.stages) - 1
    deep = _scaled_layers(architecture.stages, depth)
    for index, stage in enumerate(architecture.stages):
        keep = fixed_ends and index in (0, last)
        layers = stage.layers if keep else deep[index]
        if stage.op != "identity":  # an identity has the channels of the stage before it
            channels = _scaled_channels(stage, width, rounding)
        stages.append(dataclasses.replace(stage, layers=layers, channels=channels))
    head = architecture.head
    if head:
        head = round_channels(head, ends, rounding)
    side = math.floor(architecture.resolution * resolution + 0.5)
    return dataclasses.replace(
        architecture, stem=stem, stages=tuple(stages), head=head, resolution=side
    )


def for_small_images(architecture: Architecture) -> Architecture:
    """Return the architecture for images of about 32 px.

    The first and the last strided stage get stride 1, so that the last feature map is 4 x 4
    instead of 1 x 1. The weights keep their shapes. The stem keeps its stride, because otherwise
    the early layers, which learn little, would dominate the computation.
    """
    stages = architecture.stages
    strides = relaxed([stage.stride for stage in stages])
    changed = tuple(
        dataclasses.replace(stage, stride=stride)
        for stage, stride in zip(stages, strides, strict=True)
    )
    return dataclasses.replace(architecture, stages=changed)


def relaxed(strides: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of stages with the first and the last 2 changed to 1."""
    strided = [index for index, stride in enumerate(strides) if stride == 2]
    return tuple(1 if index in strided[:1] + strided[-1:] else s for index, s in enumerate(strides))


def round_channels(channels: int, width: float, rounding: Rounding = PUBLISHED) -> int:
    """Return `channels * width` rounded to the nearest allowed multiple, at least one multiple.

    A width of 1 changes nothing. Raises ValueError for a width that is not a positive finite
    number.
    """
    _positive("width", width)
    if width == 1:
        return channels
    exact, step = channels * width, rounding.round_to
    rounded = max(step, int(exact + step / 2) // step * step)
    return rounded + step if rounded < rounding.floor * exact else rounded


def _scaled_layers(stages: Sequence[Stage], depth: float) -> list[int]:
    """Return the scaled layers of each stage; among joined stages, the last gets its share first.

    Source: timm's `_scale_stage_depth`.
    """
    found: list[int] = []
    first = 0
    for end in range(1, len(stages) + 1):
        if end < len(stages) and stages[end].joined:
            continue
        group = [stage.layers for stage in stages[first:end]]
        left, wanted = sum(group), math.ceil(depth * sum(group))
        shares = []
        for layers in reversed(group):
            shares.append(max(1, round(layers / left * wanted)))
            left, wanted = left - layers, wanted - shares[-1]
        found += reversed(shares)
        first = end
    return found


def _scaled_channels(stage: Stage, width: float, rounding: Rounding) -> int:
    inner = int(stage.expand) if stage.op == "bottleneck" else 1
    return inner * round_channels(stage.channels // inner, width, rounding)


def _positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
        raise ValueError(
            f"{name}: {quoted(value)} is not allowed; use a positive number, at most {MOST:,}"
        )
