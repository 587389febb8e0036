"""Comparison of runs on one HTML page: `python -m scaling.report RUN... --out FILE.html`.

RUN is the folder of a search, a search from pretrained weights, a grid, a family, a training-aware
search, or a training. The page shows runs of one kind side by side, and means with errors for runs
that differ only in their seed. Only result files are read.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.report.config import ReportConfig
    from scaling.report.run import ReportResult, write_report

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ReportConfig": "scaling.report.config",
        "ReportResult": "scaling.report.run",
        "write_report": "scaling.report.run",
    },
)
