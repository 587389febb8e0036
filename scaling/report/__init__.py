"""Compare runs on one page: `python -m scaling.report RUN... --out FILE.html`.

RUN is the folder of a search, a search from pretrained weights, a grid, a family, a training-aware
search, or a training. The page holds what runs of one kind have in common side by side, with errors
where they differ in their seeds only. Only result files are read.
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
