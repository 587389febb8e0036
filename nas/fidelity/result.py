"""Result of a comparison of fidelities."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nas.evaluators.proxy import Fidelity
from nas.fidelity.comparison import Comparison
from nas.fidelity.config import FEWEST, FidelityConfig
from nas.fidelity.ranks import Judged, answer
from vbs.command import FAILED


@dataclass(frozen=True)
class FidelityResult:
    """Result of a comparison of fidelities.

    folder      folder of the files.
    config      options with all defaults resolved, from which the comparison can be repeated.
    judged      results of the fidelities by ascending cost; the longest is the last.
    seconds     duration of this run.
    comparison  the comparison.
    """

    folder: Path
    config: FidelityConfig
    judged: tuple[Judged, ...]
    seconds: float
    comparison: Comparison = field(repr=False)

    @property
    def recommended(self) -> Fidelity | None:
        """Cheapest fidelity that is worth using; None if not even the longest is."""
        found = answer(self.judged)
        return None if found is None else found.fidelity

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if too few networks could be trained."""
        return 0 if self.judged[-1].networks >= FEWEST else FAILED
