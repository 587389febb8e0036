"""Choice of a grid: the optimum of a surface through the accuracies, and the best candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scaling.compound import GREEK
from scaling.grid.config import GridConfig
from scaling.grid.growth import AXES, Candidate, shares
from scaling.published import surface_prior
from scaling.surface import Surface, fit
from scaling.training_result import Result

TOP1 = (1.0, 94.0)  # range of accuracies in percent that the prior accepts
FEWEST = 6  # smallest number of candidates, including controls, for a surface


def fitted_surface(
    config: GridConfig, found: Sequence[Candidate], known: Mapping[str, Result]
) -> Surface | None:
    """Fit the surface through the accuracies; None if too few candidates were trained."""
    rows = [each for each in found if each.name in known and known[each.name].accuracies]
    if len(rows) < FEWEST:
        return None
    places = np.array([shares(each) for each in rows])
    excess = np.log([each.growth / config.growth for each in rows])
    values = [list(known[each.name].accuracies.values()) for each in rows]
    images = min(known[each.name].images for each in rows)
    mean = float(np.clip(np.mean([np.mean(each) for each in values]), *TOP1))
    prior = surface_prior(config.growth, base_top1=mean, accuracy=mean, weight=config.prior_weight)
    rng = np.random.default_rng(0)
    return fit(places, excess, values, rng, images=images, prior=prior)


def coefficients_at(growth: float, places: np.ndarray) -> np.ndarray:
    """Return alpha, beta, gamma [..., 3] of shares [..., 3]; their formula gives the growth."""
    return growth ** (np.asarray(places) * np.array([1.0, 0.5, 0.5]))


def chosen(
    config: GridConfig,
    found: Sequence[Candidate],
    known: Mapping[str, Result],
    surface: Surface | None,
) -> dict[str, Any]:
    """Return the choice as plain data: the optimum of the surface, and the best candidate."""
    trained = [each for each in found if each.name in known and known[each.name].accuracies]
    if not trained:
        return {}
    best = max(
        (each for each in trained if not each.is_control),
        key=lambda each: known[each.name].mean,
        default=None,
    )
    outcome: dict[str, Any] = {}
    if best is not None:
        outcome["best_candidate"] = {
            "name": best.name,
            "accuracy": round(known[best.name].mean, 3),
            **dict(zip(GREEK, best.factors, strict=True)),
        }
        outcome["chosen"] = {name: outcome["best_candidate"][name] for name in GREEK}
    if surface is None:
        return outcome
    values = coefficients_at(config.growth, surface.shares)
    outcome["chosen"] = {
        name: round(float(value), 4) for name, value in zip(GREEK, values, strict=True)
    }
    return outcome | {"surface": _described(surface, config.growth)}


def _described(surface: Surface, growth: float) -> dict[str, Any]:
    """Return the surface as plain data."""
    ranges = coefficients_at(growth, surface.intervals.T).T
    return {
        "accuracy": round(surface.accuracy, 3),
        "standard_error": round(surface.error, 3),
        "shares": [round(float(share), 3) for share in surface.shares],
        "at_rim": [name for name, share in zip(AXES, surface.shares, strict=True) if share == 0],
        "intervals_95": {
            name: [round(float(end), 4) for end in ends]
            for name, ends in zip(GREEK, ranges, strict=True)
        },
        "seed_noise": None if math.isnan(surface.noise) else round(surface.noise, 3),
        "between_over_noise": None if math.isnan(surface.f_ratio) else round(surface.f_ratio, 2),
        "hidden_by_noise": surface.hidden,
        "more_seeds": surface.more_seeds,
        "prior_weight": round(surface.prior_weight, 3),
    }
