"""Options shared by the commands that train and compare given networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.options import StudyOptions
from scaling.compound import ROUNDINGS
from train.options import DataOptions, TrainingOptions, WorkerOptions, data_text
from train.parser import check_device
from train.recipe import change, preset
from vbs.config import ConfigError, option

DATA = "cifar10"  # default data
MOST_GROWTH = 10  # largest factor of the cost for one step


def network_text(text: str, *, what: str = "base") -> str:
    """Return the name of a network, or the absolute path of a file."""
    return str(Path(text).resolve()) if Path(text).is_file() else text


def check_rounding(round_to: int) -> None:
    """Raise ConfigError if channels cannot be rounded to this multiple."""
    if round_to not in ROUNDINGS:
        allowed = ", ".join(map(str, ROUNDINGS))
        raise ConfigError("round_to", f"{round_to} is not allowed; use one of {allowed}")


def check_family_growth(growth: float) -> None:
    """Raise ConfigError for an invalid growth of one step."""
    if not 1 < growth <= MOST_GROWTH:
        raise ConfigError(
            "growth", f"{growth:g} is not allowed; use a number above 1, up to {MOST_GROWTH}"
        )


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(DataOptions, TrainingOptions, WorkerOptions, StudyOptions):
    """Options of data, trainings, workers and study."""

    title = "trainings"

    data: str | None = option(
        None,
        metavar="DATA",
        parse=data_text,
        later=True,
        help="images: cifar10 (default), imagefolder:DIR, parquet:DIR and others, see train.run",
    )

    def check(self) -> None:
        recipe = change(preset(self.recipe), self.changes)
        if self.fidelity is not None:
            from nas.evaluators.proxy import Fidelity

            Fidelity.parse(self.fidelity, epochs=recipe.epochs)
        check_device(self.device, local=False)
