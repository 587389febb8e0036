"""Options of `python -m nas.block_times`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.block_times.options import SECONDS, TimingOptions
from nas.options import SpaceOptions
from vbs.config import option
from vbs.options import Command
from vbs.units import LONGEST, parse_seconds


@dataclass(frozen=True, kw_only=True)
class BlockTimesConfig(SpaceOptions, TimingOptions):
    """Options of a table of block times: the space, and how its blocks are timed."""

    title = "table"

    seconds: float = option(
        SECONDS,
        limits=(0.0, LONGEST),
        parse=parse_seconds,
        metavar="TIME",
        help=f"duration of the measurement (default {SECONDS:g}s)",
    )
    file: str | None = option(
        None,
        flag="out",
        metavar="FILE",
        help="file of the table (default: a file in the cache, which searches use)",
    )


COMMAND = Command(
    program="nas.block_times",
    config=BlockTimesConfig,
    run="nas.block_times.run:measure_block_times",
    report="nas.block_times.report:show_result",
    kind="table",
    description="Measure the time of every block of a space on this machine.",
    epilog="""\
Searches on this machine use the table: nas.search --target-latency 20ms. For another device measure
networks instead: nas.devices.kit writes them, and nas.devices.fit fits a device to their times.""",
    interrupted="interrupted; nothing was written",
)
