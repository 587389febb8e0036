"""Certainty of a ranking of many trials: the lead of the best network, chance and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vbs.accuracy import lead_of, pooled_deviation
from vbs.noise import Doubt, doubt_of

HELP = (
    "possible remedies: longer trainings (--set epochs=N), more images, a larger minival (--set "
    "minival=0.2), another --recipe, larger networks"
)


def by_network(tops: Mapping[str, float]) -> list[list[float]]:
    """Group accuracies of trials, named "KEY-sSEED", by network."""
    found: dict[str, list[float]] = {}
    for name, top1 in tops.items():
        found.setdefault(name.rpartition("-s")[0], []).append(top1)
    return list(found.values())


def doubt_among(tops: Mapping[str, float], images: Mapping[str, Any]) -> Doubt | None:
    """Return the doubt about a ranking by minival accuracies, if any; see `vbs.noise`.

    tops    minival accuracies by trial, in percent.
    images  see `train.scored.scored_images`; {} in runs of earlier versions.
    """
    networks, chance = by_network(tops), images.get("chance")
    return doubt_of(
        [sum(values) / len(values) for values in networks],
        images=minival_images(images),
        chance=chance if isinstance(chance, float) else math.nan,
        deviation=pooled_deviation(networks),
        trainings=min(map(len, networks), default=1),
    )


def minival_images(images: Mapping[str, Any]) -> int:
    """Return the number of images of the minival; 0 if unknown."""
    count = images.get("minival")
    return count if isinstance(count, int) else 0


def certainty(rows: Sequence[Mapping[str, Any]], images: Mapping[str, Any]) -> list[str]:
    """Return lines about the certainty of a run's results.

    These are the lead among the trials that were trained to the end, and the doubt about all.
    """
    known = {row["name"]: row for row in rows if row["minival_top1"] is not None}
    tops = {name: float(row["minival_top1"]) for name, row in known.items()}
    ended = by_network({n: top1 for n, top1 in tops.items() if known[n]["status"] == "finished"})
    lines, count = [], minival_images(images)
    if count and len(ended) > 1:
        lines.append(f"{lead_of(ended, count)} (minival, paired error)")
    doubt = doubt_among(tops, images)
    return lines if doubt is None else [*lines, f"warning: {doubt.text}; {HELP}"]
