"""Options of the commands that train named networks and compare them."""

from __future__ import annotations

from dataclasses import dataclass

from nas.options import StudyOptions
from train.options import DataOptions, TrainingOptions, WorkerOptions, data_text
from vbs.config import option

DATA = "cifar10"  # where none are named


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(DataOptions, TrainingOptions, WorkerOptions, StudyOptions):
    """Images, trainings, workers and study."""

    title = "trainings"

    data: str | None = option(
        None, metavar="DATA", parse=data_text, later=True,
        help="images: cifar10 (default), imagefolder:DIR, parquet:DIR and so on, as in train.run",
    )  # fmt: skip
