"""Options of `vbs doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from vbs.config import Config, option
from vbs.options import Command


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(Config):
    """What is examined."""

    title = "doctor"

    storage: str | None = option(
        None,
        metavar="URL",
        help="a database to connect to, e.g. postgresql://USER@HOST/NAME; it is not changed",
    )


COMMAND = Command(
    program="vbs.doctor",
    config=DoctorConfig,
    run="vbs.doctor.run:examine",
    report="vbs.doctor.report:show_result",
    description="Print versions, devices, Ray, database, display and caches, to paste into an "
    "issue.",
    epilog="The exit code is 1 where something is missing that commands need.",
)
