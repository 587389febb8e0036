"""What a comparison of fidelities has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nas.evaluators.proxy import Fidelity
from nas.fidelity.comparison import Comparison
from nas.fidelity.config import FidelityConfig
from nas.fidelity.ranks import FEWEST, Judged, answer
from vbs.command import FAILED


@dataclass(frozen=True)
class FidelityResult:
    """How well each fidelity ranks networks, and where the files are.

    config   with everything that was left open, so that it repeats the comparison.
    judged   by rising cost; the longest is the last.
    seconds  that this run took.
    """

    folder: Path
    config: FidelityConfig
    judged: tuple[Judged, ...]
    seconds: float
    comparison: Comparison = field(repr=False)

    @property
    def recommended(self) -> Fidelity | None:
        """The cheapest fidelity that is worth using; None where not even the longest is."""
        found = answer(self.judged)
        return None if found is None else found.fidelity

    @property
    def exit_code(self) -> int:
        """That of the command line: 1 where too few networks could be trained."""
        return 0 if self.judged[-1].networks >= FEWEST else FAILED
