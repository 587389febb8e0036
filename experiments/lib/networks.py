"""The proxy network and the compact space, which the experiments on CIFAR-10 train."""

from __future__ import annotations

import json

from experiments.lib.common import RESULTS
from search_spaces.architecture import Architecture
from search_spaces.catalog import space
from search_spaces.cost import cost
from search_spaces.scale import scale
from search_spaces.space import SearchSpace

PROXY_RESULT = RESULTS / "proxy_network.json"  # of experiments.proxy_network
PROXY_FLOPS, COMPACT_FLOPS = 4_200_000, 4_000_000  # at most


def proxy_network() -> Architecture:
    """Return the network of experiments.proxy_network at 32 px, widened to about 4M FLOPs.

    Trainings of twenty seconds favour small networks, those of minutes allow larger ones.
    """
    found = Architecture.from_dict(json.loads(PROXY_RESULT.read_text())["best"]["architecture"])
    widths = (scale(found, width=1 + step / 20) for step in range(40))
    return max(
        (net for net in widths if cost(net).flops <= PROXY_FLOPS), key=lambda net: cost(net).flops
    )


def compact_space() -> SearchSpace:
    """Return the space of all CIFAR-10 experiments."""
    return space("compact", resolution=32, classes=10, small_images=True)
