"""Parallel trainings of many networks with Ray Tune: `python -m train.ray_tune`."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.ray_tune.config import TuneConfig
    from train.ray_tune.result import TuneResult
    from train.ray_tune.run import run_tune

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "TuneConfig": "train.ray_tune.config",
        "TuneResult": "train.ray_tune.result",
        "run_tune": "train.ray_tune.run",
    },
)
