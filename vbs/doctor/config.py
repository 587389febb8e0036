"""Options of `vbs doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from vbs.config import Config, option
from vbs.options import Command


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(Config):
    """Options of `vbs doctor`."""

    title = "doctor"

    storage: str | None = option(
        None,
        metavar="URL",
        help="database to test the connection to, e.g. postgresql://USER@HOST/NAME; not modified",
    )


COMMAND = Command(
    program="vbs.doctor",
    config=DoctorConfig,
    run="vbs.doctor.run:examine",
    report="vbs.doctor.report:show_result",
    description="Print versions, devices, Ray, database, display and caches, to paste into an "
    "issue.",
    epilog="The exit code is 1 if a requirement of the commands is missing.",
)
