"""The only registry of spaces and published networks, by name."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.architecture import Architecture
from search_spaces.compact import compact
from search_spaces.efficientnet import efficientnet
from search_spaces.efficientnetv2 import efficientnetv2
from search_spaces.mnasnet import mnasnet
from search_spaces.staged import StagedSpace
from search_spaces.zoo import NETWORKS
from vbs.text import one_of

SPACES: dict[str, Callable[..., StagedSpace]] = {
    "efficientnet": efficientnet,
    "efficientnetv2": efficientnetv2,
    "mnasnet": mnasnet,
    "compact": compact,
}


def space(
    name: str,
    *,
    resolution: int = 224,
    classes: int = 1000,
    width: float = 1.0,
    small_images: bool = False,
) -> StagedSpace:
    """The space of that name, for images of `resolution` px; ValueError names the nearest."""
    make = SPACES[one_of("space", name, SPACES)]
    return make(resolution=resolution, classes=classes, width=width, small_images=small_images)


def zoo(name: str) -> Architecture:
    """The published network of that name (timm's names); ValueError names the nearest."""
    return NETWORKS[one_of("network", name, NETWORKS)]()
