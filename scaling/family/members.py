"""Members of a family: the base scaled by published factors, by a formula, or to a given cost."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scaling.budget import Growth, real_factors, within_budget, within_measured
from scaling.compound import PUBLISHED, Coefficients, Factors, Rules, fast, grown, tiny
from search_spaces.architecture import Architecture
from search_spaces.cost import Cost, cost
from search_spaces.zoo import EFFICIENTNET_SIZES, NETWORKS, TOP1

SIDE = 224  # input side of the base of the published sizes
PUBLISHED_FACTORS = {
    name: Factors(depth, width, side / SIDE)
    for name, (width, depth, side) in EFFICIENTNET_SIZES.items()
}


@dataclass(frozen=True)
class Member:
    """One network of a family.

    phi       position in the family.
    factors   factors by which the base was scaled.
    real      factors after rounding.
    formula   FLOPs by the formula: those of the base times depth width^2 resolution^2.
    """

    name: str
    phi: float
    architecture: Architecture
    cost: Cost
    factors: Factors
    real: Factors
    formula: float

    @property
    def top1(self) -> float | None:
        """Published ImageNet top-1 in percent; None if this network was not published."""
        return published_top1(self.architecture)


def family(
    base: Architecture,
    phis: Sequence[float],
    *,
    coefficients: Coefficients | None = None,
    factors: Callable[[float], Factors] | None = None,
    growth: Growth | float | None = None,
    rules: Rules | None = None,
) -> list[Member]:
    """Return the members for each phi; a negative phi gives a network smaller than the base.

    coefficients  alpha, beta, gamma; None: the published factors, for phi 0 (B0) to 8 (B8) and 9
                  (L2), with the resolution relative to B0's 224 px, and the published coefficients
                  for a negative phi.
    factors       function from phi to factors, in place of coefficients: `fast_factors` or
                  `tiny_factors`.
    growth        growth of the real cost; a number is the growth of FLOPs for each step of phi.
                  None: the cost of the rounded factors.

    Raises ValueError for an invalid phi, growth or size, and if no rounding has the cost.
    """
    rules = rules or Rules()
    wanted = factors or functools.partial(factors_of, coefficients=coefficients)
    growth = Growth(growth) if isinstance(growth, int | float) else growth
    own = cost(base)
    members = []
    for phi in phis:
        try:
            given = wanted(phi)
            if growth is None:
                network = grown(base, given, rules)
            else:
                network = _of_cost(base, phi, given, growth, rules)
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith("phi") else f"phi {phi:g}: {text}") from None
        members.append(
            Member(
                name=f"phi{phi:g}",
                phi=phi,
                architecture=network,
                cost=cost(network),
                factors=given,
                real=real_factors(base, network),
                formula=own.flops * given.growth,
            )
        )
    return members


def _of_cost(
    base: Architecture, phi: float, factors: Factors, growth: Growth, rules: Rules
) -> Architecture:
    """Return the member of a phi with the real cost of the growth."""
    times, tolerance, costs = growth.step**phi, growth.tolerance, growth.costs
    if costs is None or growth.computed:
        return within_budget(base, factors, times, rules=rules, tolerance=tolerance, costs=costs)
    return within_measured(base, factors, times, costs, rules=rules, tolerance=tolerance)


def factors_of(phi: float, coefficients: Coefficients | None) -> Factors:
    """Return the factors of a phi; raises ValueError if none are published for it."""
    if coefficients is not None:
        return coefficients.factors(phi)
    if phi < 0:
        return PUBLISHED.factors(phi)  # smaller members were not published
    sizes = list(PUBLISHED_FACTORS.values())
    if phi not in range(len(sizes)):
        raise ValueError(
            f"phi: no published member has {phi:g}; use 0 (B0) to 8 (B8), 9 (L2), or give --alpha, "
            "--beta and --gamma"
        )
    return sizes[int(phi)]


def fast_factors(phi: float) -> Factors:
    """Return the factors of fast compound scaling that multiply FLOPs by 2^phi."""
    return fast(2.0**phi)


def tiny_factors(phi: float) -> Factors:
    """Return the factors of TinyNet that multiply FLOPs by 2^phi, for phi from -4.8 to 0."""
    return tiny(2.0**phi)


def published_top1(architecture: Architecture) -> float | None:
    """Return the published ImageNet top-1 in percent, for any padding and norms; or None."""
    return _known().get(_shape(architecture))


def _known() -> dict[Architecture, float]:
    return {_shape(NETWORKS[name]()): top1 for name, top1 in TOP1.items()}


def _shape(architecture: Architecture) -> Architecture:
    """Return the network with the zoo's default conventions, which do not affect the results."""
    plain = NETWORKS["efficientnet_b0"]()
    return dataclasses.replace(
        architecture, padding=plain.padding, bn_eps=plain.bn_eps, bn_momentum=plain.bn_momentum
    )
