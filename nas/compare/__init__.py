"""Comparison of search strategies: `compare_searches`, and the command `python -m nas.compare`."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.compare.comparison import SearchComparison, compare_searches
    from nas.compare.config import CompareConfig
    from nas.compare.result import CompareResult
    from nas.compare.run import run_compare

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CompareConfig": "nas.compare.config",
        "CompareResult": "nas.compare.result",
        "SearchComparison": "nas.compare.comparison",
        "compare_searches": "nas.compare.comparison",
        "run_compare": "nas.compare.run",
    },
)
