"""Scaling to a given exact or measured cost: `within_budget` and `within_measured`.

The growth by the formula differs from the growth of the real cost: layers are whole numbers, so
that depth grows in steps, and channels are multiples of 8. With (1.2, 1.1, 1.15), the formula gives
1.92, but the FLOPs of EfficientNet-B0 grow by 2.57. The functions here choose the roundings: among
the networks with the given cost, within a tolerance, they return the one whose real depth, width
and resolution are nearest to the given factors.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scaling.compound import Factors, Rules, grown, layers_of, with_layers
from search_spaces.architecture import Architecture
from search_spaces.cost import blocks_cost, cost
from search_spaces.scale import scale

TOLERANCE = 0.03
REACH = 0.35  # depth and width are searched within exp(+-REACH) of the given factors
STEPS = 71  # grid points of the search along depth and along width
MOST = 400  # maximum number of shapes (layers, channels) tried for a member, nearest first
CLOSE = 0.01  # tolerance of FLOPs for networks whose cost is measured
ATTEMPTS = 8  # maximum number of networks that are measured for one member
STEPPED = (0.3, 3.0)  # limits of the assumed exponent of measured cost over FLOPs

HALVINGS = 12  # bisection steps of the search for the growth of FLOPs

Costs = Callable[[Sequence[Architecture]], Sequence[float]]


@dataclass(frozen=True)
class Growth:
    """Growth of the real cost in a family.

    step       the member of phi costs step^phi times the base, within `tolerance`.
    costs      function that returns the costs of networks that grow instead of FLOPs, such as
               measured seconds; see `within_measured`.
    computed   whether the costs are exact and fast to compute, such as activations; see
               `within_budget`.
    """

    step: float
    tolerance: float = TOLERANCE
    costs: Costs | None = None
    computed: bool = False


def real_factors(base: Architecture, member: Architecture) -> Factors:
    """Return the real factors of depth, width and resolution of a member over its base.

    depth  mean factor of layers, weighted by the FLOPs of each stage in the base.
    width  square root of the factor by which the channels alone multiply the FLOPs.
    """
    layers = [stage.layers for stage in member.stages]
    own = with_layers(member, [stage.layers for stage in base.stages])
    return Factors(
        _real_depth(base, layers), _real_width(base, own), member.resolution / base.resolution
    )


def _real_depth(base: Architecture, layers: Sequence[int]) -> float:
    weights = np.zeros(len(base.stages))
    for block in base.blocks():
        if block.stage >= 0:
            weights[block.stage] += blocks_cost([block]).flops
    ratios = [count / stage.layers for count, stage in zip(layers, base.stages, strict=True)]
    return float(np.average(ratios, weights=weights + 1))  # identity stages have no FLOPs


def _real_width(base: Architecture, wide: Architecture) -> float:
    """Return the real width factor of a network with the base's layers."""
    same = dataclasses.replace(wide, resolution=base.resolution)
    return math.sqrt(cost(same).flops / cost(base).flops)


def within_budget(
    base: Architecture,
    factors: Factors,
    growth: float,
    *,
    rules: Rules | None = None,
    tolerance: float = TOLERANCE,
    costs: Costs | None = None,
) -> Architecture:
    """Return the member whose exact cost is `growth` times the base's, within `tolerance`.

    costs  function that returns costs that grow instead of FLOPs; it must be fast, and the costs
           must rise with the side.

    Among all roundings with this cost, the one nearest to the factors is chosen, by the logarithms
    of real depth, width and resolution. If the factors increase depth or width, roundings in which
    no stage has fewer layers or channels than the base are preferred. If the rules limit the
    resolution, depth and width compensate for it.

    Raises ValueError if no rounding has the cost, with the nearest possible growth.
    """
    if not 0 < growth < math.inf:
        raise ValueError(f"growth: {growth!r} is not allowed; use a number above 0")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: {tolerance!r} is not allowed; use a share from 0 to 1")
    rules = rules or Rules()
    if growth == 1 and (rules.largest is None or base.resolution <= rules.largest):
        return base
    spent = _flops if costs is None else _computed(costs)
    flops_growth = growth if costs is None else _flops_growth(base, factors, growth, rules, spent)
    wanted = _affordable(base, factors, flops_growth, rules)
    goal = _Goal(growth, tolerance, spent, spent(base))
    missed = (math.inf, 0.0)
    for steady in (True, False):
        shapes = (
            each
            for each in _shapes(base, wanted, rules)
            if not steady or _is_steady(base, each[1], wanted)
        )
        some = itertools.islice(shapes, MOST)
        best, nearest = _nearest(base, some, wanted, rules, goal)
        if best is not None:
            return best
        missed = min(missed, nearest)
    raise ValueError(
        f"growth: no member costs {growth:.4g} times the base within {100 * tolerance:g}%; "
        f"the nearest costs {missed[1]:.4g} times"
    )


def _nearest(
    base: Architecture,
    shapes: Iterable[tuple[float, Architecture]],
    wanted: Factors,
    rules: Rules,
    goal: _Goal,
) -> tuple[Architecture | None, tuple[float, float]]:
    """Return the shape and side nearest to the wanted factors within the tolerance.

    Also returns (error, growth) of the best network outside the tolerance.
    """
    best: tuple[float, Architecture] | None = None
    missed = (math.inf, 0.0)
    for away, shape in shapes:
        if best is not None and away >= best[0]:
            break  # shapes come nearest first, and the side can only add to the distance
        for side in _sides(shape, wanted.resolution * base.resolution, rules, goal):
            grows = goal.grows(shape, side)
            error = abs(grows / goal.growth - 1)
            if error > goal.tolerance:
                missed = min(missed, (error, grows))
                continue
            far = away + _apart(side / base.resolution, wanted.resolution, weight=2)
            if best is None or far < best[0]:
                best = (far, dataclasses.replace(shape, resolution=side))
    return None if best is None else best[1], missed


def _is_steady(base: Architecture, shape: Architecture, wanted: Factors) -> bool:
    """Return whether no stage has fewer layers than the base if depth grows, or more if it shrinks;
    the same for channels and width."""
    pairs = list(zip(shape.stages, base.stages, strict=True))

    def goes(own: int, before: int, factor: float) -> bool:
        return own >= before if factor >= 1 else own <= before

    return all(
        goes(own.layers, before.layers, wanted.depth)
        and goes(own.channels, before.channels, wanted.width)
        for own, before in pairs
    )


def within_measured(
    base: Architecture,
    factors: Factors,
    growth: float,
    costs: Costs,
    *,
    rules: Rules | None = None,
    tolerance: float = TOLERANCE,
) -> Architecture:
    """Return the member whose measured cost is `growth` times the base's, within `tolerance`.

    costs  function that returns the costs of networks in any unit, such as seconds; called with
           the base and one member at a time.

    The FLOPs of the next member are corrected by the costs of the previous ones (`_next`), until
    the next member is one that was already measured. Raises ValueError with the nearest growth if
    none of `ATTEMPTS` members has the cost.
    """
    rules = rules or Rules()
    if growth == 1 and (rules.largest is None or base.resolution <= rules.largest):
        return base
    flops_growth, own, seen = growth, cost(base).flops, {base: 1.0}
    while len(seen) <= ATTEMPTS:
        network = _close(base, factors, flops_growth, rules)
        if network in seen:
            break
        of_base, of_member = costs([base, network])
        seen[network] = of_member / of_base
        if abs(seen[network] / growth - 1) <= tolerance:
            return network
        known = [(cost(each).flops / own, ratio) for each, ratio in seen.items()]
        flops_growth = _next(known, growth)
    nearest = min(
        (ratio for each, ratio in seen.items() if each != base),
        key=lambda ratio: abs(math.log(ratio / growth)),
        default=1.0,
    )
    raise ValueError(
        f"growth: none of {len(seen) - 1} members has a measured cost of {growth:.4g} times the "
        f"base's within {100 * tolerance:g}%; the nearest has {nearest:.4g} times; costs rise in "
        "steps, and measured costs are noisy: use a larger tolerance, or measure on fewer threads"
    )


def _close(base: Architecture, factors: Factors, growth: float, rules: Rules) -> Architecture:
    """Return the member closest to a growth of FLOPs, within `CLOSE` if possible."""
    try:
        return within_budget(base, factors, growth, rules=rules, tolerance=CLOSE)
    except ValueError:
        return within_budget(base, factors, growth, rules=rules)


def _next(known: Sequence[tuple[float, float]], growth: float) -> float:
    """Return the growth of FLOPs that should give a growth of the cost.

    known  (FLOPs, cost) of the measured members, both relative to the base.

    Interpolates between the nearest members on both sides; if there are none on one side, uses
    the secant through the two nearest.
    """

    def away(point: tuple[float, float]) -> float:
        return abs(math.log(point[1] / growth))

    near = sorted(known, key=away)
    below = [point for point in near if point[1] < growth][:1]
    above = [point for point in near if point[1] >= growth][:1]
    pair = [*below, *above]
    if len(pair) < 2 or pair[0][0] >= pair[1][0]:  # noise can reverse their order
        pair = near[:2]
    (flops, ratio), (others, than) = sorted(pair, key=away)
    power = math.log(ratio / than) / math.log(flops / others) if flops != others else 1.0
    return flops * (growth / ratio) ** (1 / min(max(power, STEPPED[0]), STEPPED[1]))


def _affordable(base: Architecture, factors: Factors, growth: float, rules: Rules) -> Factors:
    """Return the factors raised to the power that gives the growth by the formula.

    If the rules limit the resolution, depth and width grow in proportion to compensate for it.
    """
    if (factors.growth - 1) * (growth - 1) > 0:
        power = math.log(growth) / math.log(factors.growth)
        wanted = Factors(*(factor**power for factor in factors))
    else:  # the factors give no direction
        each = growth ** (1 / 3)
        wanted = Factors(each, each**0.5, each**0.5)
    if rules.largest is None or wanted.resolution * base.resolution <= rules.largest:
        return wanted
    capped = rules.largest / base.resolution
    rest, own = math.log(growth / capped**2), math.log(wanted.depth * wanted.width**2)
    if own > 0:
        return Factors(wanted.depth ** (rest / own), wanted.width ** (rest / own), capped)
    return Factors(math.exp(rest / 2), math.exp(rest / 4), capped)


def _apart(real: float, wanted: float, *, weight: float) -> float:
    """Return the weighted squared distance of logarithms; width and resolution have weight 2."""
    return (weight * math.log(real / wanted)) ** 2


def _shapes(
    base: Architecture, wanted: Factors, rules: Rules
) -> Iterator[tuple[float, Architecture]]:
    """Yield (distance, shape) for layers and channels near the wanted factors, nearest first."""
    ways = [dataclasses.replace(rules, layers=how) for how in ("up", "nearest")]
    deeper = (layers_of(base, factor, way) for factor in _around(wanted.depth) for way in ways)
    scaled = (
        scale(base, width=factor, rounding=rules.rounding, fixed_ends=rules.fixed_ends)
        for factor in _around(wanted.width)
    )
    layers = dict.fromkeys(_fitting(deeper, rules))
    wide = dict.fromkeys(each for each in map(rules.fitted, scaled) if each is not None)
    deep = [(_apart(_real_depth(base, each), wanted.depth, weight=1), each) for each in layers]
    broad = [(_apart(_real_width(base, each), wanted.width, weight=2), each) for each in wide]
    pairs = [
        (depth + width, counts, network)
        for (depth, counts), (width, network) in itertools.product(deep, broad)
    ]
    pairs.sort(key=lambda pair: pair[0])
    for away, counts, network in pairs:
        yield away, with_layers(network, counts)


def _fitting(counts: Iterable[Sequence[int]], rules: Rules) -> Iterator[tuple[int, ...]]:
    """Yield the layers of the stages, limited to those of `rules.within`."""
    for each in counts:
        if rules.within is None:
            yield tuple(each)
        else:
            most = (stage.layers for stage in rules.within.stages)
            yield tuple(map(min, each, most))


def _around(factor: float) -> list[float]:
    """Return factors near the given factor."""
    return [factor, *(np.exp(np.linspace(-REACH, REACH, STEPS)) * factor).tolist()]


def _sides(shape: Architecture, ideal: float, rules: Rules, goal: _Goal) -> list[int]:
    """Return the sides to try: within the tolerance the one nearest to the ideal, otherwise the
    nearest on either side of the target.

    The cost rises with the side, so those within the tolerance form a range, found by bisection.
    """
    step = rules.resolution_step
    largest = rules.largest if rules.largest is not None else 3 * ideal + step
    most = math.floor(largest / step)

    def first(share: float) -> int:
        """Return the first place whose cost is at least this share of the target."""
        low, high = 1, most + 1
        while low < high:
            middle = (low + high) // 2
            if goal.grows(shape, middle * step) >= share * goal.growth:
                high = middle
            else:
                low = middle + 1
        return low

    low, high = first(1 - goal.tolerance), first(1 + goal.tolerance) - 1
    if low > high:
        places = [low - 1, low]
    else:
        places = [min(max(round(ideal / step), low), high)]
    return [place * step for place in places if 1 <= place <= most]


def _flops(network: Architecture) -> float:
    return cost(network).flops


def _computed(costs: Costs) -> Callable[[Architecture], float]:
    return lambda network: costs([network])[0]


@dataclass(frozen=True)
class _Goal:
    """A growth of the cost, and the cost of the base."""

    growth: float
    tolerance: float
    spent: Callable[[Architecture], float]
    own: float

    def grows(self, shape: Architecture, side: int) -> float:
        """Return the cost at a side relative to the base; 0 if the feature maps vanish."""
        try:
            return self.spent(dataclasses.replace(shape, resolution=side)) / self.own
        except ValueError:
            return 0.0


def _flops_growth(
    base: Architecture,
    factors: Factors,
    growth: float,
    rules: Rules,
    spent: Callable[[Architecture], float],
) -> float:
    """Return the approximate growth of FLOPs at which another cost grows by `growth`."""
    finer = dataclasses.replace(rules, layers="nearest")
    own = spent(base)
    low, high = sorted((0.0, STEPPED[1] * math.log(growth)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wanted = _affordable(base, factors, math.exp(middle), rules)
        try:
            grows = spent(grown(base, wanted, finer)) / own
        except ValueError:  # the feature maps vanish
            grows = 0.0
        low, high = (low, middle) if grows > growth else (middle, high)
    return math.exp((low + high) / 2)
