"""Load the network to show: `run_show`."""

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

    size      height and width of the images in pixels; None for the architecture's own resolution.
    backbone  whether it is shown, and its cost counted, without head and classifier.
    """

    architecture: Architecture
    cost: Cost
    size: tuple[int, int] | None = None
    backbone: bool = False

    @property
    def exit_code(self) -> int:
        """That of the command line."""
        return 0


def run_show(config: ShowConfig) -> ShowResult:
    """The network that a config names; ValueError where there is none, or where its
    strides leave nothing of the images."""
    assert config.network is not None  # see ShowConfig.check
    architecture = load(config.network)
    counted = backbone_cost if config.backbone else cost
    try:
        found = counted(architecture, config.size)
    except ValueError as error:  # the strides leave nothing of such images
        raise ConfigError("input", str(error).removeprefix("resolution: ")) from None
    return ShowResult(architecture, found, config.size, config.backbone)
