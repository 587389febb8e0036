"""Options of `python -m search_spaces.show`."""

from __future__ import annotations

from dataclasses import dataclass

from vbs.config import Config, option
from vbs.options import Command


@dataclass(frozen=True, kw_only=True)
class ShowConfig(Config):
    """Which network is shown."""

    network: str | None = option(
        None,
        metavar="NETWORK",
        help="a name of the zoo, or a JSON file: an architecture, or a best.json of a search",
    )

    def check(self) -> None:
        if not self.network:
            raise ValueError(
                "NETWORK is missing; give a name such as efficientnet_b0, or a JSON file"
            )


COMMAND = Command(
    program="search_spaces.show",
    config=ShowConfig,
    run="search_spaces.show.run:run_show",
    report="search_spaces.show.report:show_result",
    kind="network",
    description="Show a network stage by stage, with its exact cost.",
    positional=("network",),
)
