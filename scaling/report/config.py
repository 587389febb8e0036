"""Options of `python -m scaling.report`."""

from __future__ import annotations

from dataclasses import dataclass

from vbs.config import Config, ConfigError, option
from vbs.options import Command


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Config):
    """Options of a page about several runs."""

    title = "report"

    runs: tuple[str, ...] = option((), metavar="RUN", help="folders of runs to compare")
    out: str = option("report.html", metavar="FILE", help="path of the page (default report.html)")

    def check(self) -> None:
        if not self.runs:
            raise ValueError("RUN is missing; e.g. python -m scaling.report runs/search-1")
        if not self.out.endswith(".html"):
            raise ConfigError("out", f"{self.out} must end in .html")


COMMAND = Command(
    program="scaling.report",
    config=ReportConfig,
    run="scaling.report.run:write_report",
    report="scaling.report.run:show_result",
    positional=("runs",),
    description="Compare runs on one page that works offline.",
    interrupted="interrupted; nothing was written",
)
