"""Neural architecture search: objectives, strategies, evaluators and the search loop."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.compare import SearchComparison, compare_searches
    from nas.objective import Objective
    from nas.search.config import SearchConfig
    from nas.search.result import Found, SearchResult
    from nas.search.run import run_search

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Found": "nas.search.result",
        "Objective": "nas.objective",
        "SearchComparison": "nas.compare",
        "SearchConfig": "nas.search.config",
        "SearchResult": "nas.search.result",
        "compare_searches": "nas.compare",
        "run_search": "nas.search.run",
    },
)
