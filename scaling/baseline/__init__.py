"""From images and a budget to a family of networks: `python -m scaling.baseline`.

The whole method on the user's own data, step by step: a search by training (`nas.search`), the best
networks trained again for longer, a grid of how the winner grows (`scaling.grid`), the family
(`scaling.family`), and as many of its members as the hours allow, trained on Ray
(`train.ray_tune`). Each step resumes where it was interrupted, and can be left out. The result is
report.html: one page that needs nothing beside it.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.baseline.config import BaselineConfig
    from scaling.baseline.report import BaselineResult
    from scaling.baseline.run import run_baseline

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BaselineConfig": "scaling.baseline.config",
        "BaselineResult": "scaling.baseline.report",
        "run_baseline": "scaling.baseline.run",
    },
)
