"""Run of `python -m search_spaces.show`: load the network and compute its cost."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.architecture import Architecture
from search_spaces.cost import Cost, cost
from search_spaces.feature_maps import backbone_cost
from search_spaces.loading import load
from search_spaces.show.config import ShowConfig
from vbs.config import ConfigError


@dataclass(frozen=True)
class ShowResult:
    """A network and its exact cost.

    size      height and width of the images in pixels; None: the architecture's own resolution.
    backbone  whether head and classifier are omitted, also from the cost.
    """

    architecture: Architecture
    cost: Cost
    size: tuple[int, int] | None = None
    backbone: bool = False

    @property
    def exit_code(self) -> int:
        """Exit code of the command, always 0."""
        return 0


def run_show(config: ShowConfig) -> ShowResult:
    """Load the network that a config names and compute its cost.

    Raises ValueError if there is no such network, or if the images are too small for its strides.
    """
    assert config.network is not None  # see ShowConfig.check
    architecture = load(config.network)
    counted = backbone_cost if config.backbone else cost
    try:
        found = counted(architecture, config.size)
    except ValueError as error:  # the images are too small for the strides
        raise ConfigError("input", str(error).removeprefix("resolution: ")) from None
    return ShowResult(architecture, found, config.size, config.backbone)
