"""Baseline: from images and a budget to a trained family, `python -m scaling.baseline`.

The command runs the whole method on the user's data, step by step: a search by training
(`nas.search`), longer trainings of the best networks, a grid over ways to grow the winner
(`scaling.grid`), the family (`scaling.family`), and the training of as many members as the time
allows on Ray (`train.ray_tune`). Each step resumes where it was interrupted, and can be skipped.
The result is report.html, a single self-contained page.
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
