"""How sure a comparison of trained networks is: its lead, and what chance or noise hide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from nas.search.doubts import remedies
from scaling.training_result import Result
from vbs.accuracy import Lead, lead_of, pooled_deviation
from vbs.noise import Doubt, doubt_of

if TYPE_CHECKING:
    from nas.search.setup import Measuring


class Scored(NamedTuple):
    """How networks are scored: on how many images, what guessing gets there in percent, and what
    would make it more certain, in a sentence."""

    images: int
    chance: float
    remedies: str


def scored_by(measuring: Measuring, *, larger: str) -> Scored:
    """How these trainings are scored; larger: how larger networks are had, with its option."""
    helps = remedies(measuring.recipe, measuring.fidelity, measuring.data, larger=larger)
    return Scored(measuring.images, measuring.data.chance, helps)


def doubt_about(known: Mapping[str, Result], scored: Scored) -> Doubt | None:
    """The doubt about the networks that were trained, see `vbs.noise.doubt_of`."""
    rows = [list(one.accuracies.values()) for one in known.values() if one.accuracies]
    return doubt_of(
        [sum(values) / len(values) for values in rows],
        images=scored.images,
        chance=scored.chance,
        deviation=pooled_deviation(rows),
        trainings=min(map(len, rows), default=1),
    )


def lead_among(known: Mapping[str, Result], images: int) -> Lead | None:
    """How far the most accurate network is ahead of the others; None of fewer than two."""
    rows = [list(one.accuracies.values()) for one in known.values() if one.accuracies]
    return lead_of(rows, images) if len(rows) > 1 else None


def certainty(known: Mapping[str, Result], scored: Scored) -> list[str]:
    """Both in lines, as they are printed under a table."""
    lead, doubt = lead_among(known, scored.images), doubt_about(known, scored)
    lines = [] if lead is None else [f"{lead} (paired error on the same images)"]
    return lines if doubt is None else [*lines, f"warning: {doubt.text}; {scored.remedies}"]
