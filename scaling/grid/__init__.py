"""Grid: find alpha, beta and gamma of a baseline, `python -m scaling.grid`.

Candidates are all (alpha, beta, gamma) of a grid whose networks have the real cost of one step of
growth, and controls that grow depth, width or resolution alone (Tan & Le 2019, sections 3.3 and
5.1). Each gets short trainings with several seeds. A smooth surface through the accuracies
(`scaling.surface`) gives the optimum and its uncertainty.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.grid.config import GridConfig
    from scaling.grid.growth import (
        AXES,
        Candidate,
        ProxySize,
        candidates,
        grid,
        proxy_base,
        shares,
        spread,
    )
    from scaling.grid.report import GridResult
    from scaling.grid.run import run_grid

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AXES": "scaling.grid.growth",
        "Candidate": "scaling.grid.growth",
        "GridConfig": "scaling.grid.config",
        "GridResult": "scaling.grid.report",
        "ProxySize": "scaling.grid.growth",
        "candidates": "scaling.grid.growth",
        "grid": "scaling.grid.growth",
        "proxy_base": "scaling.grid.growth",
        "run_grid": "scaling.grid.run",
        "shares": "scaling.grid.growth",
        "spread": "scaling.grid.growth",
    },
)
