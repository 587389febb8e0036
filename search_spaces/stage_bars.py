"""Bars that show an architecture in HTML reports: one for the stem, each stage, and the head."""

from __future__ import annotations

from typing import NamedTuple

from search_spaces.architecture import Architecture, kernels_text

COLOURS = {
    "conv": "#8d99ae",
    "dwsep": "#5aa9e6",
    "mbconv": "#2a6fdb",
    "fused": "#e07a5f",
    "bottleneck": "#6d597a",
    "uib": "#3d9970",
    "identity": "#cccccc",
}
ENDS = "#444444"  # colour of stem and head


class StageBar(NamedTuple):
    """A bar: CSS colour, width in pixels (linear in sqrt(channels)), and the text beside it."""

    colour: str
    width: int
    text: str


def stage_bars(network: Architecture) -> list[StageBar]:
    """Return the bars of a network, from the input to the output."""
    stem = _bar(ENDS, network.stem, f"stem {network.stem}, {network.resolution} px")
    sizes = {block.stage: block.out_size for block in network.blocks()}
    bars = [stem]
    for index, stage in enumerate(network.stages):
        se = " SE" if stage.se else ""
        text = (
            f"{stage.layers} x {stage.op} {kernels_text(stage)} e{stage.expand}{se} → "
            f"{stage.channels}, {sizes[index]} px"
        )
        bars.append(_bar(COLOURS[stage.op], stage.channels, text))
    if network.head:
        bars.append(_bar(ENDS, network.head, f"head {network.head}"))
    return bars


def _bar(colour: str, channels: int, text: str) -> StageBar:
    return StageBar(colour, round(min(130.0, 8 + 3.4 * channels**0.5)), text)
