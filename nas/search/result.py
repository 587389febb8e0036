"""What a search has found."""

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
    """A network that a search has found, with its numbers.

    architecture  None for a space whose networks are rows of a table.
    accuracy      percent; std its error, None where unknown.
    costs         by name: flops (multiply-adds), params, and seconds of measured costs.
    evaluations   how often it was evaluated.
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
    """What a search has found, and where its files are.

    config     with everything that was left open, so that it repeats the search.
    evaluator  what is known of the evaluator; it evaluates nothing.
    status     "finished", "exhausted" (nothing new within the limits is left), "out of time",
               "interrupted" or "failed"; reason explains it, "" where there is none.
    seconds    that the search took, with those of earlier parts.
    written    whether all files could be written.
    ranking    how sure predictions are of which network is the best, in lines.
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
        """That of the command line."""
        codes = {"interrupted": INTERRUPTED, "failed": FAILED}
        return codes.get(self.status, 0 if self.found else FAILED)

    @property
    def found(self) -> bool:
        """Whether an evaluation came to its end."""
        return bool(self.history.full.any())

    @property
    def best(self) -> Found:
        """The network of highest reward; ValueError where no evaluation succeeded."""
        return self.network(self.history.best())

    @property
    def front(self) -> list[Found]:
        """The networks that no other exceeds in accuracy at no higher cost, cheapest first."""
        return [self.network(int(row)) for row in self.history.front()] if self.found else []

    def network(self, row: int) -> Found:
        """The network in a row of the history."""
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
        """Every evaluation as a row, with the columns of history.parquet."""
        return history_table(self.history).to_pandas()

    def plot(self, path: str | Path | None = None) -> Any:
        """The front of accuracy and cost as a matplotlib figure; saved where a path is given."""
        references = reference_rows(self.history, self.evaluator)
        place = None if path is None else Path(path)
        return front_figure.draw(place, self.history, self.evaluator, references)
