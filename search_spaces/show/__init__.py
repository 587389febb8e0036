"""Print a network stage by stage with its exact cost: `python -m search_spaces.show NETWORK`."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from search_spaces.loading import load
    from search_spaces.show.config import ShowConfig
    from search_spaces.show.report import lines
    from search_spaces.show.run import ShowResult, run_show

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ShowConfig": "search_spaces.show.config",
        "ShowResult": "search_spaces.show.run",
        "lines": "search_spaces.show.report",
        "load": "search_spaces.loading",
        "run_show": "search_spaces.show.run",
    },
)
