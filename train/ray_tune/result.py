"""The result of many trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from train.ray_tune.plan import Plan
from vbs.command import FAILED, INTERRUPTED

if TYPE_CHECKING:
    import pandas as pd

    from train.ray_tune.config import TuneConfig


@dataclass(frozen=True)
class TuneResult:
    """The result of many trainings, and where their files are.

    place   the folder or URL.
    plan    the complete description of the trainings.
    trials  rows of results.json, the best first: finished trials by their top-1 on the minival in
            percent, then the others.
    status  "finished", "interrupted" or "failed".
    reason  why it failed.
    """

    place: str
    plan: Plan
    trials: Sequence[Mapping[str, Any]]
    status: str
    reason: str = ""

    @property
    def config(self) -> TuneConfig:
        """The options."""
        return self.plan.config

    @property
    def lost(self) -> Sequence[Mapping[str, Any]]:
        """Trials that were lost with their process or node; a resumed run trains them."""
        return [row for row in self.trials if row["status"] == "lost"]

    @property
    def exit_code(self) -> int:
        """Exit code of the command; also 1 if no trial has finished or some were lost."""
        if self.status != "finished":
            return INTERRUPTED if self.status == "interrupted" else FAILED
        finished = any(row["status"] == "finished" for row in self.trials)
        return 0 if finished and not self.lost else FAILED

    def to_pandas(self) -> pd.DataFrame:
        """Return the trials as rows, with the columns of results.csv."""
        import pandas as pd

        return pd.DataFrame(self.trials)
