"""Load the network to show: `run_show`."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.architecture import Architecture
from search_spaces.cost import Cost, cost
from search_spaces.loading import load
from search_spaces.show.config import ShowConfig


@dataclass(frozen=True)
class ShowResult:
    """A network and its exact cost."""

    architecture: Architecture
    cost: Cost

    @property
    def exit_code(self) -> int:
        """That of the command line."""
        return 0


def run_show(config: ShowConfig) -> ShowResult:
    """The network that a config names; ValueError where there is none."""
    assert config.network is not None  # see ShowConfig.check
    architecture = load(config.network)
    return ShowResult(architecture, cost(architecture))
