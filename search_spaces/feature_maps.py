"""Feature maps of a network as data: where they come from, and what a backbone of them costs.

The feature map of a reduction (pixels of the image for one of the map, along one side) is the last
one of its size, as timm's `features_only=True` takes it: the output of the stem, of the pool behind
it, or of the last block before one that strides. Head and classifier are no part of a backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from search_spaces.architecture import Architecture
from search_spaces.cost import Cost, blocks_cost, sized_blocks, sized_cost
from vbs.text import quoted

LEAST = 4  # detectors and segmentation networks start at this reduction


class FeatureMap(NamedTuple):
    """One feature map of a network.

    reduction  pixels of the image for one of the map, along one side.
    channels   of the map.
    module     what returns it in `search_spaces.network.Network`: "act" (the stem), "pool", or a
               block, "blocks.<group>.<number>".
    block      its index among `Architecture.blocks`.
    """

    reduction: int
    channels: int
    module: str
    block: int


def feature_maps(
    architecture: Architecture, reductions: Sequence[int] | None = None
) -> tuple[FeatureMap, ...]:
    """The feature maps of these reductions, finest first.

    reductions  such as (8, 16, 32); None for all from 4 on, or for all where none is that large.

    ValueError for a reduction that the network does not have.
    """
    every = _every(architecture)
    if reductions is None:
        return tuple(each for each in every if each.reduction >= LEAST) or every
    known = {each.reduction: each for each in every}
    for reduction in reductions:
        if reduction not in known:
            raise ValueError(
                f"reductions: {quoted(reduction)} is none of the network's; it has "
                f"{', '.join(map(str, known))}"
            )
    if not reductions:
        raise ValueError(f"reductions: none is given; use some of {', '.join(map(str, known))}")
    return tuple(known[reduction] for reduction in sorted(set(reductions)))


def _every(architecture: Architecture) -> tuple[FeatureMap, ...]:
    """The last feature map of each size, finest first."""
    modules = ["act", "pool"] if architecture.stem_pool else ["act"]
    for stage, (group, first) in zip(architecture.stages, architecture.places(), strict=True):
        modules += [f"blocks.{group}.{first + layer}" for layer in range(stage.layers)]
    found: dict[int, FeatureMap] = {}
    reduction = 1
    # head and classifier follow, which are no feature maps
    for index, (block, module) in enumerate(zip(architecture.blocks(), modules, strict=False)):
        reduction *= block.stride
        found[reduction] = FeatureMap(reduction, block.out_channels, module, index)
    return tuple(found.values())


def backbone_cost(
    architecture: Architecture,
    size: tuple[int, int] | None = None,
    reductions: Sequence[int] | None = None,
) -> Cost:
    """The exact cost of what computes these feature maps, without head and classifier.

    size        height and width of the images in pixels; None for squares of the architecture's
                own resolution.
    reductions  as in `feature_maps`; what stands behind the last of them is not counted.
    """
    count = feature_maps(architecture, reductions)[-1].block + 1
    if size is None:
        return blocks_cost(list(architecture.blocks())[:count])
    high, wide = sized_blocks(architecture, size)
    return sized_cost(high[:count], wide[:count])
