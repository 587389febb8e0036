"""A search space of your own: two stages of inverted residual blocks.

vbs search --space my_space.py:two_stages --evaluator my_evaluator.py:Capacity --target-flops 20M
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from search_spaces.architecture import Architecture, Stage
from search_spaces.cost import Cost, cost
from search_spaces.space import SearchSpace

CHOICES = {
    "kernel": (3, 5),
    "expand": (2, 4, 6),
    "layers_1": (1, 2, 3),
    "layers_2": (1, 2, 3),
    "channels": (16, 24, 32, 48),
}


@functools.cache
def known_cost(network: Architecture) -> Cost:
    """Return the exact cost, cached because a search draws a small space's networks repeatedly."""
    return cost(network)


class Decoder:
    """Function from choices to a network; a class, so that it can be sent to worker processes."""

    def __init__(self, resolution: int, classes: int) -> None:
        self.resolution, self.classes = resolution, classes

    def __call__(self, choices: Mapping[str, Any]) -> Architecture:
        kernel, expand, channels = choices["kernel"], choices["expand"], choices["channels"]
        return Architecture(
            stem=16,
            stages=(
                Stage("mbconv", choices["layers_1"], kernel, 2, expand, channels),
                Stage("mbconv", choices["layers_2"], kernel, 2, expand, 2 * channels),
            ),
            head=4 * channels,
            resolution=self.resolution,
            classes=self.classes,
        )


def two_stages(*, resolution: int = 96, classes: int = 10) -> SearchSpace:
    """Return the space; the search passes the image size and classes as keyword arguments."""
    resolution, classes = resolution or 96, classes or 10
    return SearchSpace(
        "two_stages",
        CHOICES,
        Decoder(resolution, classes),
        cost=known_cost,
        settings={"resolution": resolution, "classes": classes},
    )
