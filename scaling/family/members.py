"""Members of a family: the base scaled by published factors, by a formula, or to an exact cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.budget import Growth, real_factors, within_budget, within_measured
from scaling.compound import Coefficients, Factors, Rules, grown
from search_spaces.architecture import Architecture
from search_spaces.cost import Cost, cost
from search_spaces.zoo import EFFICIENTNET_SIZES, NETWORKS, TOP1

SIDE = 224  # of the base that the published sizes are of
PUBLISHED_FACTORS = {
    name: Factors(depth, width, side / SIDE)
    for name, (width, depth, side) in EFFICIENTNET_SIZES.items()
}


@dataclass(frozen=True)
class Member:
    """One network of a family.

    phi       its place in the family.
    factors   that it was scaled by, real ones those that it has after rounding.
    formula   FLOPs that the formula gives the factors: base times depth width^2 resolution^2.
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
        """Published ImageNet top-1 in percent, where exactly this network was published."""
        return published_top1(self.architecture)


def family(
    base: Architecture,
    phis: Sequence[float],
    *,
    coefficients: Coefficients | None = None,
    growth: Growth | float | None = None,
    rules: Rules | None = None,
) -> list[Member]:
    """The members for each phi.

    coefficients  alpha, beta, gamma; None: the published factors, for phi 0 (B0) to 8 (B8) and 9
                  (L2), the resolution as a share of B0's 224 px.
    growth        what each member really costs; a number is the step of a growth of FLOPs. None:
                  whatever the rounded factors cost.

    Raises ValueError for an impossible phi, growth or size, and where no rounding meets a growth.
    """
    rules = rules or Rules()
    growth = Growth(growth) if isinstance(growth, int | float) else growth
    own = cost(base)
    members = []
    for phi in phis:
        factors = factors_of(phi, coefficients)
        if growth is None:
            network = grown(base, factors, rules)
        else:
            try:
                network = _of_cost(base, phi, factors, growth, rules)
            except ValueError as error:
                raise ValueError(f"phi {phi:g}: {error}") from None
        members.append(
            Member(
                name=f"phi{phi:g}",
                phi=phi,
                architecture=network,
                cost=cost(network),
                factors=factors,
                real=real_factors(base, network),
                formula=own.flops * factors.growth,
            )
        )
    return members


def _of_cost(
    base: Architecture, phi: float, factors: Factors, growth: Growth, rules: Rules
) -> Architecture:
    """The member of a phi that really costs what the growth says."""
    times, tolerance, costs = growth.step**phi, growth.tolerance, growth.costs
    if costs is None:
        return within_budget(base, factors, times, rules=rules, tolerance=tolerance)
    return within_measured(base, factors, times, costs, rules=rules, tolerance=tolerance)


def factors_of(phi: float, coefficients: Coefficients | None) -> Factors:
    """The factors of a phi; ValueError where the published ones have no such phi."""
    if coefficients is not None:
        if phi < 0:
            raise ValueError(f"phi: {phi:g} is not allowed; use a number from 0")
        return coefficients.factors(phi)
    sizes = list(PUBLISHED_FACTORS.values())
    if phi not in range(len(sizes)):
        raise ValueError(
            f"phi: {phi:g} is not published; use 0 (B0) to 8 (B8), 9 (L2), or give --alpha, "
            "--beta and --gamma"
        )
    return sizes[int(phi)]


def published_top1(architecture: Architecture) -> float | None:
    """ImageNet top-1 in percent of a published network, whatever its padding and norms; or None."""
    return _known().get(_shape(architecture))


def _known() -> dict[Architecture, float]:
    return {_shape(NETWORKS[name]()): top1 for name, top1 in TOP1.items()}


def _shape(architecture: Architecture) -> Architecture:
    """The network in the zoo's plain conventions, which costs and results do not depend on."""
    plain = NETWORKS["efficientnet_b0"]()
    return dataclasses.replace(
        architecture, padding=plain.padding, bn_eps=plain.bn_eps, bn_momentum=plain.bn_momentum
    )
