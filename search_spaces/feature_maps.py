"""Feature maps of a network as plain data, and the cost of a backbone that computes them.

The reduction of a feature map is the number of image pixels per map pixel along one side. The
feature map of a reduction is the last one of its size, as in timm's `features_only=True`: the
output of the stem, of the pool after it, or of the last block before a block with a stride of 2.
Head and classifier are not part of a backbone. The torch module is
`search_spaces.backbone.Backbone`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from search_spaces.architecture import Architecture
from search_spaces.cost import Cost, blocks_cost, sized_blocks, sized_cost
from vbs.text import quoted

LEAST = 4  # smallest reduction that detectors and segmentation networks use


class FeatureMap(NamedTuple):
    """One feature map of a network.

    reduction  image pixels per map pixel along one side.
    channels   number of channels.
    module     module of `search_spaces.network.Network` that computes it: "act" (the stem),
               "pool", or a block, "blocks.<group>.<number>".
    block      index of its block in `Architecture.blocks`.
    """

    reduction: int
    channels: int
    module: str
    block: int


def feature_maps(
    architecture: Architecture, reductions: Sequence[int] | None = None
) -> tuple[FeatureMap, ...]:
    """Return the feature maps of these reductions, finest first.

    reductions  such as (8, 16, 32); None: all of at least 4 (all, if none is that large).

    Raises ValueError for a reduction that the network does not have.
    """
    every = _every(architecture)
    if reductions is None:
        return tuple(each for each in every if each.reduction >= LEAST) or every
    known = {each.reduction: each for each in every}
    for reduction in reductions:
        if reduction not in known:
            raise ValueError(
                f"reductions: {quoted(reduction)} is not a reduction of the network; use "
                f"{', '.join(map(str, known))}"
            )
    if not reductions:
        raise ValueError(f"reductions: none is given; use some of {', '.join(map(str, known))}")
    return tuple(known[reduction] for reduction in sorted(set(reductions)))


def _every(architecture: Architecture) -> tuple[FeatureMap, ...]:
    """Return the last feature map of each size, finest first."""
    modules = ["act", "pool"] if architecture.stem_pool else ["act"]
    for stage, (group, first) in zip(architecture.stages, architecture.places(), strict=True):
        modules += [f"blocks.{group}.{first + layer}" for layer in range(stage.layers)]
    found: dict[int, FeatureMap] = {}
    reduction = 1
    # not strict: head and classifier follow, which have no feature maps
    for index, (block, module) in enumerate(zip(architecture.blocks(), modules, strict=False)):
        reduction *= block.stride
        found[reduction] = FeatureMap(reduction, block.out_channels, module, index)
    return tuple(found.values())


def backbone_cost(
    architecture: Architecture,
    size: tuple[int, int] | None = None,
    reductions: Sequence[int] | None = None,
) -> Cost:
    """Return the exact cost of a backbone with these feature maps, without head and classifier.

    size        height and width of the images in pixels; None: the architecture's own resolution.
    reductions  as in `feature_maps`; blocks after the last feature map are not counted.

    Raises ValueError if the images are too small for the strides, and as `feature_maps` does.
    """
    count = feature_maps(architecture, reductions)[-1].block + 1
    if size is None:
        return blocks_cost(list(architecture.blocks())[:count])
    high, wide = sized_blocks(architecture, size)
    return sized_cost(high[:count], wide[:count])
