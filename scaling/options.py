"""Options of the commands that train named networks and compare them."""

from __future__ import annotations

from dataclasses import dataclass

from nas.evaluators.proxy import Fidelity
from nas.options import StudyOptions
from train.options import DataOptions, TrainingOptions, WorkerOptions, data_text
from train.parser import check_device
from train.recipe import change, preset
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

    def check(self) -> None:
        recipe = change(preset(self.recipe), self.changes)
        Fidelity.parse(self.fidelity or "", epochs=recipe.epochs)
        check_device(self.device, local=self.address is None)
