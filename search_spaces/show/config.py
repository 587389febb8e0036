"""Options of `python -m search_spaces.show`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vbs.config import Config, ConfigError, option
from vbs.options import Command
from vbs.text import quoted


@dataclass(frozen=True, kw_only=True)
class ShowConfig(Config):
    """Options that select the network to show."""

    network: str | None = option(
        None,
        metavar="NETWORK",
        help="name of a network in the zoo, or a JSON file: an architecture or a best.json",
    )

    input: str | None = option(
        None,
        metavar="HEIGHTxWIDTH",
        help="size of the images in pixels, such as 320x640 (default: the network's own)",
    )
    backbone: bool = option(
        False, help="omit head and classifier, and list the feature maps for a detector"
    )

    def check(self) -> None:
        if not self.network:
            raise ValueError(
                "NETWORK is missing; use a name such as efficientnet_b0, or a JSON file"
            )
        if self.input is not None and self.size is None:
            raise ConfigError(
                "input",
                f"{quoted(self.input)} is not allowed; use HEIGHTxWIDTH in pixels, such as 320x640",
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of `input` in pixels; a single number stands for both."""
        found = re.fullmatch(r"([1-9][0-9]{0,4})(?:[xX]([1-9][0-9]{0,4}))?", self.input or "")
        return (int(found[1]), int(found[2] or found[1])) if found else None


COMMAND = Command(
    program="search_spaces.show",
    config=ShowConfig,
    run="search_spaces.show.run:run_show",
    report="search_spaces.show.report:show_result",
    kind="network",
    description="Print a network stage by stage, with its exact cost.",
    positional=("network",),
)
