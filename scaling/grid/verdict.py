"""Printed lines on the choice of a grid and its certainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaling.compound import GREEK
from scaling.grid.choice import FEWEST
from scaling.grid.growth import Candidate
from scaling.training_result import Result

SEEDS = 3  # seeds to use if one was too few
ALIKE = 2.0  # variance ratio between candidates and seeds below which candidates are equally good


def verdict(
    found: Sequence[Candidate], known: Mapping[str, Result], outcome: Mapping[str, Any]
) -> list[str]:
    """Return the choice and its certainty in a few lines."""
    lines = []
    surface = outcome.get("surface")
    if surface is not None:
        parts = []
        for name in GREEK:
            low, high = surface["intervals_95"][name]
            parts.append(f"{name} {outcome['chosen'][name]:.3f} ({low:.2f} to {high:.2f})")
        lines.append("optimum of the surface, with 95% intervals: " + ", ".join(parts))
        lines.append(
            f"  accuracy there {surface['accuracy']:.2f} ± {surface['standard_error']:.2f}%"
        )
        if line := prior_line(surface):
            lines.append(f"  {line}")
        if surface["at_rim"]:
            lines.append(
                f"  no growth in {' or '.join(surface['at_rim'])}: the optimum is on an edge of "
                "the triangle, where intervals extend only inwards and are too narrow"
            )
    best = outcome["best_candidate"]
    lines.append(f"best candidate: {best['name']}, {best['accuracy']:.2f}%")
    controls = [each for each in found if each.is_control and each.name in known]
    shown = [
        f"{each.name} {known[each.name].mean:.2f}% at {each.growth:.2f}x"
        for each in controls
        if known[each.name].accuracies
    ]
    if shown:
        lines.append("one axis alone: " + ", ".join(shown))
    if surface is None:
        lines.append(f"fewer than {FEWEST} candidates were trained: no surface was fitted")
    elif line := noise_line(surface):
        lines.append(line)
    return lines


def prior_line(surface: Mapping[str, Any]) -> str:
    """Return the weight of published trainings in a surface; "" if they were not used."""
    if "prior_weight" not in surface:
        return ""
    return (
        f"weight of published trainings as prior: {surface['prior_weight']:.2f} "
        "(learned; --prior-weight 0 leaves them out)"
    )


def noise_line(surface: Mapping[str, Any]) -> str:
    """Return why the optimum of a surface is uncertain and what would help; "" if it is certain."""
    noise, more = surface["seed_noise"], surface["more_seeds"]
    if not surface["hidden_by_noise"]:
        return ""
    if noise is None:
        return f"the optimum is not clear, and one seed does not show why: use --seeds {SEEDS}"
    hidden = f"noise hides the optimum (seeds differ by {noise:.2f} points)"
    if more is not None:
        return f"{hidden}: about {more} more seeds for each candidate would show it"
    ratio = surface["between_over_noise"]
    if ratio is not None and ratio < ALIKE:
        return (
            f"{hidden}: all candidates are about equally accurate, and many more seeds would "
            "hardly help"
        )
    return (
        f"the optimum is not clear: candidates differ by more than their seeds do ({noise:.2f} "
        "points), but not as a smooth surface would; the best candidates are more reliable"
    )
