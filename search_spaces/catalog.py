"""The only registry of spaces and published networks, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from search_spaces.architecture import Architecture
from search_spaces.compact import compact
from search_spaces.efficientnet import efficientnet
from search_spaces.efficientnetv2 import efficientnetv2
from search_spaces.mnasnet import mnasnet
from search_spaces.staged import StagedSpace
from search_spaces.zoo import NETWORKS

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


def one_of(what: str, name: str, known: Iterable[str]) -> str:
    """`name` if it is known, else a ValueError that suggests the nearest known names."""
    known = list(known)
    if name in known:
        return name
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
    raise ValueError(f"{what}: {name!r} is unknown; {hint}")
