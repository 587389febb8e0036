"""Training of one network by a recipe: `python -m train.run NETWORK --data DATA`."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.run.config import TrainConfig
    from train.run.result import TrainResult
    from train.run.run import run_training

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "TrainConfig": "train.run.config",
        "TrainResult": "train.run.result",
        "run_training": "train.run.run",
    },
)
