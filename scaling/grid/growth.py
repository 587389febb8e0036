"""Candidates of a grid: ways to spend one step of growth on depth, width and resolution.

Candidates are all (alpha, beta, gamma) of a grid whose networks have the real cost of one step of
growth, and controls that grow depth, width or resolution alone (Tan & Le 2019, sections 3.3 and
5.1). Their training is in `scaling.trainings`, the choice in `scaling.grid.choice`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from scaling.budget import Costs, real_factors
from scaling.compound import Coefficients, Factors, Rules, grown, layers_of, with_layers
from scaling.grid.config import check_growth
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.scale import for_small_images, scale
from vbs.units import short

AXES = ("depth", "width", "resolution")
# numbers of measured networks if the cost is not FLOPs: networks of the whole grid, to fit how the
# cost grows; networks of each axis alone; and networks that should have the cost by this fit
PROBED, ALONG, TIMED = 12, 12, 40
LIKELY = 2.0  # multiple of the tolerance for the expected cost of networks that are measured
BAND = (0.5, 1.6)  # range of their FLOPs relative to the growth


class Candidate(NamedTuple):
    """A way to spend one step of growth.

    name    "(1.2, 1.1, 1.15)"; for a control "depth", "width" or "resolution".
    growth  real cost relative to the base.
    real    factors after rounding.
    """

    name: str
    factors: Factors
    architecture: Architecture
    growth: float
    real: Factors

    @property
    def is_control(self) -> bool:
        """Whether it grows along one axis only."""
        return self.name in AXES

    @property
    def coefficients(self) -> Coefficients:
        """The factors as coefficients of a family."""
        return Coefficients(*self.factors)


def grid(
    base: Architecture, *, growth: float = 2.0, step: float = 0.05, tolerance: float = 0.05
) -> list[Coefficients]:
    """Return the (alpha, beta, gamma) of the grid with the real cost of the growth.

    Their networks have `growth` times the base's real FLOPs, within `tolerance`. If several give
    the same network, only one is returned. Raises ValueError with the nearest growth if there are
    none.
    """
    found = candidates(base, growth=growth, step=step, tolerance=tolerance)
    return [each.coefficients for each in found if not each.is_control]


def candidates(
    base: Architecture,
    *,
    growth: float = 2.0,
    step: float = 0.05,
    tolerance: float = 0.05,
    rules: Rules | None = None,
    costs: Costs | None = None,
) -> list[Candidate]:
    """Return the candidates of the grid, by increasing depth, followed by the controls.

    costs  function that returns the costs of networks, in any unit; None: FLOPs. For other costs,
           such as seconds, few networks are measured: some, spread widely, to fit how the cost
           grows, and then at most `TIMED` that should have the cost.

    Layers are rounded up, as published, and also to the nearest, because rounding up alone leaves
    a gap around the published coefficients. If several coefficients give the same network, the
    candidate has those whose formula is nearest to the real cost. A control is the network of its
    axis that is nearest to the growth, even outside the tolerance.

    Raises ValueError with the nearest growth if no network has the cost.
    """
    check_growth(growth, step, tolerance)
    rules = rules or Rules()
    networks = _networks(base, growth, step, rules)
    finer = _networks(base, growth, step, dataclasses.replace(rules, layers="nearest"))
    networks |= {network: factors for network, factors in finer.items() if network not in networks}
    networks.pop(base, None)
    controls = {axis: _along(base, axis, growth, rules) for axis in AXES}
    ratio = _ratios(base, networks, controls, growth, tolerance, costs)
    found = []
    named: set[str] = set()
    for network, factors in networks.items():
        real = ratio.get(network, math.inf)
        if abs(real / growth - 1) <= tolerance:
            name = str(Coefficients(*factors))
            name += " nearest" if name in named else ""  # networks with layers rounded up are first
            named.add(name)
            found.append(Candidate(name, factors, network, real, real_factors(base, network)))
    alone = _controls(base, controls, ratio, growth)
    grown_alone = {each.architecture for each in alone}
    found = [each for each in found if each.architecture not in grown_alone]
    if not found:
        known = [ratio[each] for each in networks if each in ratio and each not in grown_alone]
        raise _nothing_meets(growth, tolerance, known)
    return [*sorted(found, key=lambda each: each.factors), *alone]


def _nothing_meets(growth: float, tolerance: float, known: Sequence[float]) -> ValueError:
    nearest = min(known, key=lambda real: abs(real / growth - 1), default=1.0)
    return ValueError(
        f"growth: no candidate costs {growth:.4g} times the base within {100 * tolerance:g}%; the "
        f"nearest costs {nearest:.4g} times; use a larger --tolerance, a smaller --step or another "
        "--growth"
    )


def _networks(
    base: Architecture, growth: float, step: float, rules: Rules
) -> dict[Architecture, Factors]:
    """Return all distinct networks of the grid, with the factors whose formula is nearest.

    The growth by the formula is below the real one, because layers are rounded up, or slightly
    above it; factors outside this range are skipped.
    """

    def ways(most: float) -> list[float]:
        return [round(1 + step * i, 6) for i in range(math.floor((most - 1) / step + 1e-9) + 1)]

    low, high = 0.45 * growth, 1.2 * growth
    wide = {way: grown(base, Factors(width=way), rules) for way in ways(high**0.5)}
    layers = {way: tuple(layers_of(base, way, rules)) for way in ways(high)}
    sides = {way: rules.side(base.resolution, way) for way in ways(high**0.5)}
    same: dict[tuple[Any, ...], list[Factors]] = {}
    for depth, width in itertools.product(layers, wide):
        if depth * width**2 > high:
            continue
        for side in sides:
            factors = Factors(depth, width, side)
            if low <= factors.growth <= high:
                same.setdefault((layers[depth], wide[width], sides[side]), []).append(factors)
    own, found = cost(base).flops, {}
    for (counts, network, side), alike in same.items():
        network = dataclasses.replace(with_layers(network, counts), resolution=side)
        real = cost(network).flops / own
        found[network] = min(alike, key=lambda factors: abs(math.log(factors.growth / real)))
    return found


def _along(base: Architecture, axis: str, growth: float, rules: Rules) -> list[Architecture]:
    """Return distinct networks that grow along one axis only, by 0.5 to 1.5 times the growth."""
    power = 1 if axis == "depth" else 2
    ways = np.exp(np.linspace(math.log(growth / 2), math.log(1.5 * growth), 241) / power)
    found = [
        grown(base, Factors()._replace(**{axis: float(factor)}), rules)
        for factor in ways
        if factor >= 1
    ]
    if axis == "depth":  # add the steps that rounding up omits
        nearest = dataclasses.replace(rules, layers="nearest")
        found += [
            with_layers(base, layers_of(base, float(factor), nearest))
            for factor in ways
            if factor >= 1
        ]
    return list(dict.fromkeys(found))


def _ratios(
    base: Architecture,
    networks: Iterable[Architecture],
    controls: Mapping[str, list[Architecture]],
    growth: float,
    tolerance: float,
    costs: Costs | None,
) -> dict[Architecture, float]:
    """Return the cost relative to the base of each network that may have the wanted cost."""
    own = cost(base).flops
    alone = [network for along in controls.values() for network in along if network != base]
    flops = {network: cost(network).flops / own for network in (*networks, *alone)}
    if costs is None:
        return flops
    low, high = (share * growth for share in BAND)
    near = [network for network in networks if low <= flops[network] <= high]
    if not near:  # the nearest one is needed for the error message
        near = sorted(networks, key=lambda network: abs(flops[network] / growth - 1))[:1]
    if not near:
        return {}
    places = np.array([[*_shares(real_factors(base, each)), flops[each] / growth] for each in near])
    picked = [near[index] for index in far_apart(places, PROBED)]
    for along in controls.values():
        some = [network for network in along if network != base]
        picked += [some[i] for i in far_apart(np.array([[flops[each]] for each in some]), ALONG)]
    known = _over_base(base, picked, costs)
    expected = _expected(base, known, near)
    likely = [
        index
        for index, network in enumerate(near)
        if network not in known and abs(expected[index] / growth - 1) <= LIKELY * tolerance
    ]
    if likely:
        chosen = far_apart(places[likely, :3], TIMED)
        known |= _over_base(base, [near[likely[index]] for index in chosen], costs)
    return known


def _over_base(
    base: Architecture, networks: Iterable[Architecture], costs: Costs
) -> dict[Architecture, float]:
    """Return costs relative to the base, all measured together."""
    distinct = list(dict.fromkeys(networks))
    own, *others = costs([base, *distinct])
    return {network: value / own for network, value in zip(distinct, others, strict=True)}


def _expected(
    base: Architecture, known: Mapping[Architecture, float], networks: Sequence[Architecture]
) -> np.ndarray:
    """Return expected costs relative to the base.

    They are products of powers of the FLOPs factors of depth, width and resolution; the powers are
    fitted to the known costs.
    """

    def logs(some: Iterable[Architecture]) -> np.ndarray:
        real = np.log([real_factors(base, each) for each in some])
        return real * np.array([1.0, 2.0, 2.0])

    powers, *_ = np.linalg.lstsq(logs(known), np.log([*known.values()]), rcond=None)
    return np.exp(logs(networks) @ powers)


def _controls(
    base: Architecture,
    along: dict[str, list[Architecture]],
    ratio: dict[Architecture, float],
    growth: float,
) -> list[Candidate]:
    found = []
    for axis, networks in along.items():
        known = [network for network in networks if network in ratio and network != base]
        if not known:
            continue
        best = min(known, key=lambda network: abs(ratio[network] / growth - 1))
        real = real_factors(base, best)
        found.append(Candidate(axis, real, best, ratio[best], real))
    return found


def spread(found: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return all controls, and `count` candidates whose shares are as far as possible from each
    other and from the controls."""
    free = [each for each in found if not each.is_control]
    controls = [each for each in found if each.is_control]
    taken = [shares(each) for each in controls]
    chosen = far_apart(np.array([shares(each) for each in free]), count, taken=taken)
    return [*(free[index] for index in chosen), *controls]


def far_apart(
    places: np.ndarray, count: int, *, taken: Sequence[Sequence[float]] = ()
) -> list[int]:
    """Return indices of at most `count` of the places [n, k], as far apart as possible, sorted.

    The first is the place nearest to the centre. Each next one is the place furthest from all
    places that are chosen or `taken`.
    """
    if len(places) <= count:
        return list(range(len(places)))
    chosen = [int(((places - places.mean(0)) ** 2).sum(1).argmin())]
    while len(chosen) < count:
        others = np.array([*places[chosen], *taken])
        gaps = ((places[:, None] - others[None]) ** 2).sum(2).min(1)
        gaps[chosen] = -1
        chosen.append(int(gaps.argmax()))
    return sorted(chosen)


def shares(candidate: Candidate) -> tuple[float, float, float]:
    """Return the shares of a candidate's growth in depth, width and resolution; their sum is 1."""
    return _shares(candidate.real)


def _shares(real: Factors) -> tuple[float, float, float]:
    logs = (math.log(real.depth), 2 * math.log(real.width), 2 * math.log(real.resolution))
    total = sum(logs) or 1.0
    depth, width, side = (part / total for part in logs)
    return depth, width, side


@dataclass(frozen=True, kw_only=True)
class ProxySize:
    """Size of a proxy; None: as in the base.

    classes       outputs of the classifier.
    resolution    input side in pixels.
    small_images  whether it has fewer strides, see `search_spaces.scale.for_small_images`.
    width         factor of the channels; None: the largest that `flops` allow, in steps of 0.01.
    flops         largest FLOPs, if `width` is None.
    narrowest     smallest width, even if the FLOPs are exceeded; None: no limit, and a ValueError
                  if the FLOPs cannot be met.
    """

    classes: int | None = None
    resolution: int | None = None
    small_images: bool = False
    width: float | None = None
    flops: float | None = None
    narrowest: float | None = None


def proxy_base(base: Architecture, size: ProxySize) -> Architecture:
    """Return the base made small enough to be trained many times.

    Raises ValueError if the FLOPs cannot be met, or if the feature maps vanish.
    """
    small = for_small_images(base) if size.small_images else base
    side = base.resolution if size.resolution is None else size.resolution
    small = dataclasses.replace(small, resolution=side, classes=size.classes or base.classes)
    if size.width is not None:
        return scale(small, width=size.width)
    if size.flops is None or cost(small).flops <= size.flops:
        return small
    for hundredth in range(99, 4, -1):
        narrow = scale(small, width=hundredth / 100)
        if cost(narrow).flops <= size.flops:
            return narrow
        if size.narrowest is not None and hundredth <= 100 * size.narrowest:
            return narrow
    raise ValueError(
        f"proxy: the base cannot be narrowed to {short(size.flops)} FLOPs at {side} px, where its "
        f"narrowest form costs {short(cost(narrow).flops)}; use a larger --proxy-flops or a "
        "smaller --proxy-resolution"
    )
