"""Networks of a training-aware search: those for comparison, and the members of the family."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from scaling.budget import real_factors, within_budget
from scaling.compound import PUBLISHED, Rules
from scaling.family.members import Member
from search_spaces.architecture import Architecture
from search_spaces.catalog import space, zoo
from search_spaces.cost import cost
from search_spaces.scale import for_small_images, scale
from search_spaces.staged import StagedSpace

SPACE = "efficientnetv2"
BASE = "EfficientNetV2-base"
BATCH = 32  # batch of the timed training steps
FULL = 224  # input side in pixels of the full-size network that grows


def reference(the_space: StagedSpace) -> Architecture:
    """Return V2-base in the space, with its width and resolution."""
    network = the_space.decode(the_space.encode(the_space.references[BASE]))
    assert isinstance(network, Architecture)
    return network


def b0_like(network: Architecture, *, width: float, small_images: bool) -> Architecture:
    """Return EfficientNet-B0 with the width, side, classes and form of a network of the space."""
    base = scale(zoo("efficientnet_b0"), width=width)
    if small_images:
        base = for_small_images(base)
    return dataclasses.replace(base, resolution=network.resolution, classes=network.classes)


def ops_of_stages(network: Architecture) -> list[dict[str, Any]]:
    """Return the choices of each stage as plain data."""
    return [
        {
            "stage": index,
            "op": stage.op,
            "kernel": stage.kernel,
            **({"start_kernel": stage.start_kernel} if stage.op == "uib" else {}),
            "expand": stage.expand,
            "layers": stage.layers,
            "channels": stage.channels,
            "stride": stage.stride,
            "se": stage.se,
        }
        for index, stage in enumerate(network.stages)
    ]


def full_size(choices: dict[str, Any]) -> Architecture:
    """Return the network of these choices at full width, for 224 px and 1,000 classes."""
    whole = space(SPACE, resolution=FULL)
    network = whole.decode(whole.encode(choices))
    assert isinstance(network, Architecture)
    return network


def members(base: Architecture, names: tuple[str, ...] = ("s", "m", "l")) -> list[Member]:
    """Return the base grown as much as V2-base grows to V2-S, M and L, by V2's rules.

    The growth is that of real FLOPs. Raises ValueError if no rounding has the cost.
    """
    own = cost(zoo("efficientnetv2_b0")).flops
    found = []
    for name in names:
        growth = cost(zoo(f"efficientnetv2_{name}")).flops / own
        phi = math.log(growth) / math.log(PUBLISHED.growth)
        factors = PUBLISHED.factors(phi)
        network = within_budget(base, factors, growth, rules=Rules("v2"))
        found.append(
            Member(
                name=name,
                phi=phi,
                architecture=network,
                cost=cost(network),
                factors=factors,
                real=real_factors(base, network),
                formula=cost(base).flops * factors.growth,
            )
        )
    return found
