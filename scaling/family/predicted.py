"""Predicted top-1 of a family's members, from that of the base or of trained members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.family.config import FamilyConfig
from scaling.family.members import PUBLISHED_FACTORS, Member
from scaling.published import (
    factors_between,
    forecast,
    load_published,
    predicted_gain,
    range_problems,
)
from scaling.published.known import known_top1
from search_spaces.architecture import Architecture
from vbs.config import ConfigError
from vbs.text import shortened

DEVIATIONS = 1.959964  # half-width of a 95% interval in standard deviations
BASE = "base"  # name of the member of phi 0 in --known


@dataclass(frozen=True)
class Top1:
    """Predicted ImageNet top-1 of a member in percent.

    percent, std  mean and standard deviation of one training; None if there is no prediction.
    known   whether it is given or published rather than predicted. A top-1 that the search of the
            base predicted is not known, and has no standard deviation.
    reason  why there is no prediction.
    """

    percent: float | None = None
    std: float = 0.0
    known: bool = False
    reason: str = ""

    def as_row(self) -> dict[str, Any]:
        """Return the prediction as plain data."""
        if self.percent is None:
            return {"predicted_top1": None, "no_prediction": self.reason}
        reach = DEVIATIONS * self.std
        return {
            "predicted_top1": {
                "percent": round(self.percent, 3),
                "std": round(self.std, 3),
                "interval_95": [round(self.percent - reach, 3), round(self.percent + reach, 3)],
                "known": self.known,
            }
        }


def known_members(config: FamilyConfig) -> dict[float, float]:
    """Return phi -> top-1 of the members that --known names.

    Raises ConfigError for a text that is not a member with a percentage.
    """
    found: dict[float, float] = {}
    for text in (part for word in config.known for part in word.split(",") if part):
        name, _, value = text.rpartition("=")
        try:
            percent = float(value)
        except ValueError:
            percent = float("nan")
        if not name or not 1 <= percent < 95:
            raise ConfigError(
                "known",
                f"{shortened(repr(text), 40)} is not understood; write a member and its percent, "
                "from 1 to below 95, such as b0=77.1 or 0=77.1",
            )
        phi = _phi_of(name.strip().lower(), config)
        if phi in found:
            raise ConfigError("known", f"phi {phi:g} is given twice")
        found[phi] = percent
    return found


def _phi_of(name: str, config: FamilyConfig) -> float:
    sizes = list(PUBLISHED_FACTORS)
    if name in sizes:
        published = config.coefficients in (None, "published") and config.alpha is None
        if not published or config.growth is not None or config.rules not in ("compound", "v2"):
            raise ConfigError(
                "known",
                f"{name} is a published member, but not of this family; write its phi, such as "
                f"{sizes.index(name)}=77.1",
            )
        return float(sizes.index(name))
    if name == BASE:
        return 0.0
    try:
        phi = float(name.removeprefix("phi"))
    except ValueError:
        phi = float("nan")
    if not abs(phi) <= 100:
        raise ConfigError(
            "known",
            f"{shortened(repr(name), 40)} is not a member; use b0 to b8, or a phi such as 0",
        )
    return phi


@dataclass(frozen=True)
class Predictions:
    """Predictions for all members in order, and a description of the data they are based on."""

    top1: Sequence[Top1]
    basis: str


def predictions(
    base: Architecture,
    members: Sequence[Member],
    trained: Mapping[Member, float],
    config: FamilyConfig,
) -> Predictions:
    """Predict the top-1 of each member from trained members, or else from the base.

    trained  members with known top-1 in percent, including those that are not shown.
    """
    factors = np.array([factors_between(base, each.architecture) for each in members])
    if trained:
        return _forecast(base, members, trained, factors)
    assert config.base is not None
    try:
        own = known_top1(config.base, config.base_top1)
    except ValueError as error:
        reason = str(error)
        return Predictions([Top1(reason=reason)] * len(members), "")
    points, deviations = predicted_gain(factors, base_top1=own.percent)
    found = []
    for member, row, gain, std in zip(members, factors, points, deviations, strict=True):
        problems = range_problems([row], base_top1=own.percent)
        if member.architecture == base:
            found.append(Top1(own.percent, known=not own.searched))
        elif problems:
            found.append(Top1(reason="; ".join(problems)))
        else:
            found.append(Top1(own.percent + float(gain), float(std)))
    return Predictions(found, f"the base's {own.percent:.1f}% ({own.source})")


def _forecast(
    base: Architecture,
    members: Sequence[Member],
    trained: Mapping[Member, float],
    factors: np.ndarray,
) -> Predictions:
    known = np.array([factors_between(base, each.architecture) for each in trained])
    reached = list(trained.values())
    found = forecast(known, reached, factors)
    smallest = int((np.log(known) @ np.array([1.0, 2.0, 2.0])).argmin())
    given = {each.phi: top1 for each, top1 in trained.items()}
    top1 = []
    for member, row, percent, std in zip(members, factors, found.top1, found.std, strict=True):
        problems = range_problems([row / known[smallest]], base_top1=reached[smallest])
        if member.phi in given:
            top1.append(Top1(given[member.phi], known=True))
        elif problems:
            top1.append(Top1(reason="; ".join(problems)))
        else:
            top1.append(Top1(float(percent), float(std)))
    shown = ", ".join(f"{each.name} {percent:g}%" for each, percent in trained.items())
    return Predictions(top1, f"trained members: {shown}")


def shown_top1(row: Mapping[str, Any]) -> str:
    """Format a prediction with its 95% interval; known values without an interval."""
    found = row["predicted_top1"]
    if found is None:
        return "-"
    if found["known"]:
        return f"{found['percent']:.1f}% known"
    if not found["std"]:
        return f"{found['percent']:.1f}% by its search"
    low, high = found["interval_95"]
    return f"{found['percent']:.1f}% ({low:.1f} to {high:.1f})"


def notes(rows: Sequence[Mapping[str, Any]], basis: str) -> list[str]:
    """Return notes on the basis of predictions, and on members without a prediction."""
    published, found = load_published(), []
    if basis:
        found.append(
            f"predicted top-1: from {basis}, by a regression over {published.trainings} published "
            "ImageNet trainings, with the 95% interval of one training; not a measurement"
        )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["predicted_top1"] is None:
            reasons.setdefault(row["no_prediction"], []).append(row["name"])
    for reason, names in reasons.items():
        found.append(f"no predicted top-1 of {', '.join(names)}: {reason}")
    return found
