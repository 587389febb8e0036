"""Certainty of a comparison of trained networks: the lead of the best, and chance or noise."""

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
    """How networks are scored.

    images    number of images.
    chance    accuracy of guessing, in percent.
    remedies  advice on how to make the comparison more certain.
    """

    images: int
    chance: float
    remedies: str


def scored_by(measuring: Measuring, *, larger: str) -> Scored:
    """Return how these trainings are scored; `larger` is a phrase that suggests larger networks."""
    helps = remedies(measuring.recipe, measuring.fidelity, measuring.data, larger=larger)
    return Scored(measuring.images, measuring.data.chance, helps)


def doubt_about(known: Mapping[str, Result], scored: Scored) -> Doubt | None:
    """Return why the trained networks cannot be distinguished, see `vbs.noise.doubt_of`."""
    rows = [list(one.accuracies.values()) for one in known.values() if one.accuracies]
    return doubt_of(
        [sum(values) / len(values) for values in rows],
        images=scored.images,
        chance=scored.chance,
        deviation=pooled_deviation(rows),
        trainings=min(map(len, rows), default=1),
    )


def lead_among(known: Mapping[str, Result], images: int) -> Lead | None:
    """Return the lead of the most accurate network; None for fewer than two networks."""
    rows = [list(one.accuracies.values()) for one in known.values() if one.accuracies]
    return lead_of(rows, images) if len(rows) > 1 else None


def certainty(known: Mapping[str, Result], scored: Scored) -> list[str]:
    """Return the lead and the doubt as lines to print under a table."""
    lead, doubt = lead_among(known, scored.images), doubt_about(known, scored)
    lines = [] if lead is None else [f"{lead} (paired error on the same images)"]
    return lines if doubt is None else [*lines, f"warning: {doubt.text}; {scored.remedies}"]
