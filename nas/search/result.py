"""Results of a search: `SearchResult` and `Found`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.evaluators.base import Evaluator
from nas.history import History
from nas.history_file import history_table
from nas.search import front_figure
from nas.search.config import SearchConfig
from nas.search.rows import reference_rows
from search_spaces.architecture import Architecture
from vbs.command import FAILED, INTERRUPTED

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Found:
    """A network that a search has found.

    architecture  None for a space whose networks are rows of a table.
    choices       option of each decision.
    accuracy      percent.
    std           standard deviation of the accuracy in points; None if unknown.
    reward        reward of the objective.
    costs         by name: flops (multiply-adds), params, and seconds of measured costs.
    evaluations   number of its evaluations.
    """

    architecture: Architecture | None
    choices: Mapping[str, Any]
    accuracy: float
    std: float | None
    reward: float
    costs: Mapping[str, float]
    evaluations: int


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    folder     folder of the results.
    config     config with all defaults filled in, from which the search can be repeated.
    history    all evaluations.
    evaluator  description of the evaluator.
    status     "finished", "exhausted" (no new network within the limits is left), "out of time",
               "interrupted" or "failed".
    reason     reason of a failure or a missing result; "" if there is none.
    seconds    time of the search, including earlier parts.
    written    whether all files could be written.
    ranking    lines about the certainty of a predicted ranking.
    """

    folder: Path
    config: SearchConfig
    history: History
    evaluator: Evaluator = field(repr=False)
    status: str
    reason: str
    seconds: float
    written: bool = True
    ranking: tuple[str, ...] = field(default=(), repr=False)

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        codes = {"interrupted": INTERRUPTED, "failed": FAILED}
        return codes.get(self.status, 0 if self.found else FAILED)

    @property
    def found(self) -> bool:
        """Whether at least one full evaluation finished."""
        return bool(self.history.full.any())

    @property
    def best(self) -> Found:
        """The network of highest reward; raises ValueError if no evaluation succeeded."""
        return self.network(self.history.best())

    @property
    def front(self) -> list[Found]:
        """The Pareto front of accuracy and cost, cheapest network first."""
        return [self.network(int(row)) for row in self.history.front()] if self.found else []

    def network(self, row: int) -> Found:
        """Return the network in a row of the history."""
        space, genotype = self.history.space, self.history.genotypes[row]
        known, network = self.history.summary(row), space.decode(genotype)
        return Found(
            network if isinstance(network, Architecture) else None,
            space.choices_of(genotype),
            known.accuracy,
            None if np.isnan(known.std) else known.std,
            known.reward,
            {name: self.history.costs.get(name)[row].item() for name in space.cost_names},
            known.evaluations,
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each evaluation, with the columns of history.parquet."""
        return history_table(self.history).to_pandas()

    def plot(self, path: str | Path | None = None) -> Any:
        """Return a matplotlib figure of accuracy against cost; save it if `path` is given."""
        references = reference_rows(self.history, self.evaluator)
        place = None if path is None else Path(path)
        return front_figure.draw(place, self.history, self.evaluator, references)
