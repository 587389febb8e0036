"""Options of `python -m nas.devices.fit`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.devices.names import DEVICES, NAME
from search_spaces.catalog import SPACES
from train.options import absolute_path
from vbs.config import Config, option
from vbs.options import Command
from vbs.text import shortened


@dataclass(frozen=True, kw_only=True)
class FitConfig(Config):
    """Options of a fit: the measured kit, and the name of the device."""

    title = "fit"

    kit: str | None = option(None, parse=absolute_path, help="folder of a measured kit")
    name: str | None = option(None, metavar="NAME", help="name of the device, e.g. my-phone")
    space: str | None = option(
        None, catalog=SPACES, help="space of the kit; required if it is your own code"
    )
    out: str | None = option(
        None, metavar="FILE", help="device file to write (default: NAME.json in this folder)"
    )

    def check(self) -> None:
        if self.kit is None:
            raise ValueError("KIT is missing; use python -m nas.devices.fit kit/ --name my-phone")
        if self.name is None:
            raise ValueError("--name is missing; use a name, such as --name my-phone")
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"--name: {shortened(repr(self.name), 60)} is not allowed; use up to 60 letters, "
                "digits, '-', '_' and '.'"
            )
        if self.name in DEVICES:
            raise ValueError(f"--name: {self.name} is a measured device; use another name")
        if self.out is not None and not self.out.endswith(".json"):
            raise ValueError(f"--out: {shortened(repr(self.out), 60)} must end in .json")


COMMAND = Command(
    program="nas.devices.fit",
    config=FitConfig,
    run="nas.devices.fit.run:fit_kit",
    report="nas.devices.fit.report:show_result",
    positional=("kit",),
    switches={
        "any_unit": "accept times that appear to be in another unit",
        "skip_missing": "leave out networks without a time",
    },
    description="Fit a device to the measured networks of a kit.",
    interrupted="interrupted; nothing was written",
)
