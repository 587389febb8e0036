"""The command `python -m nas.search`, `run_search`, and the search loops."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.search.config import SearchConfig
    from nas.search.loop import (
        PATIENCE,
        LoopOptions,
        answers,
        check_limits,
        check_whole,
        nearest_in_pool,
        search,
    )
    from nas.search.result import SearchResult
    from nas.search.run import run_search
    from nas.search.targets import objective_of

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "LoopOptions": "nas.search.loop",
        "PATIENCE": "nas.search.loop",
        "SearchConfig": "nas.search.config",
        "SearchResult": "nas.search.result",
        "answers": "nas.search.loop",
        "check_limits": "nas.search.loop",
        "check_whole": "nas.search.loop",
        "nearest_in_pool": "nas.search.loop",
        "objective_of": "nas.search.targets",
        "run_search": "nas.search.run",
        "search": "nas.search.loop",
    },
)
