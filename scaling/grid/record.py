"""Record of a grid: grid.json."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.certainty import certainty, scored_by
from scaling.compound import Factors
from scaling.grid.choice import chosen
from scaling.grid.config import RECORD, GridConfig
from scaling.grid.growth import Candidate, shares
from scaling.training_result import Result
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json

if TYPE_CHECKING:
    from nas.search.setup import Measuring
    from scaling.surface import Surface


class Record:
    """Writer of grid.json, which is updated after every training."""

    def __init__(
        self,
        folder: Path,
        config: GridConfig,
        base: Architecture,
        found: Sequence[Candidate],
        measuring: Measuring,
        *,
        resumed: bool,
    ) -> None:
        self.scored = scored_by(measuring, larger="a larger proxy (--proxy-flops)")
        self.folder, self.config, self.base, self.found = folder, config, base, found
        self._known: Mapping[str, Result] = {}
        before = 0.0
        self._written = not resumed
        if resumed:
            outcome = json.loads((folder / RECORD).read_text()).get("outcome", {})
            before = float(outcome.get("wall_seconds", 0.0))
        else:
            self._began = time.monotonic()
            self.write({}, "running")
        self._began = time.monotonic() - before

    def end(self, status: str) -> None:
        """Write the last state again with another status; do nothing if there was no state.

        An OSError (such as a full disk) is ignored, because the error that ended the grid is
        reported.
        """
        if self._written:
            with contextlib.suppress(OSError):
                self.write(self._known, status)

    def write(
        self, known: Mapping[str, Result], status: str, surface: Surface | None = None
    ) -> None:
        """Write the record with the current state."""
        self._known, self._written = known, True
        values = [result for result in known.values() if result.accuracies]
        outcome: dict[str, Any] = {
            "trained": sum(len(result.accuracies) for result in values),
            "wanted": len(self.found) * self.config.seeds,
            "wall_seconds": round(time.monotonic() - self._began, 1),
            "training_seconds": round(
                sum(result.seconds * len(result.accuracies) for result in values), 1
            ),
        }
        if status == "finished":
            outcome |= chosen(self.config, self.found, known, surface)
            outcome["certainty"] = certainty(known, self.scored)
        base = {**cost(self.base)._asdict(), "architecture": json.loads(self.base.to_json())}
        write_json(
            self.folder / RECORD,
            {
                "status": status,
                "partial": status != "finished",
                "settings": self.config.settings(),
                "base": base,
                "candidates": [self._row(each) for each in self.found],
                "outcome": outcome,
                **circumstances(("numpy", "torch", "ray")),
            },
        )

    def _row(self, each: Candidate) -> dict[str, Any]:
        known = self._known.get(each.name)
        return {
            "name": each.name,
            "factors": each.factors._asdict(),
            "growth": each.growth,
            "real_factors": each.real._asdict(),
            "shares": [round(share, 4) for share in shares(each)],
            **cost(each.architecture)._asdict(),
            "architecture": json.loads(each.architecture.to_json()),
            **({} if known is None else known.to_json()),
        }


def read(path: Path) -> tuple[Architecture, list[Candidate]]:
    """Return the proxy and the candidates of a grid's record; raises ValueError if damaged."""
    try:
        content = parse_json(path.read_bytes())
        base = Architecture.from_dict(content["base"]["architecture"])
        found = [
            Candidate(
                str(row["name"]),
                Factors(**row["factors"]),
                Architecture.from_dict(row["architecture"]),
                float(row["growth"]),
                Factors(**row["real_factors"]),
            )
            for row in content["candidates"]
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"resume: {path} is damaged ({error})") from None
    return base, found
