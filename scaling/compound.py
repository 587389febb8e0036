"""Compound scaling: depth, width and resolution of a baseline grow together.

Source: Tan & Le 2019 (EfficientNet), section 3.3: depth alpha^phi, width beta^phi, resolution
gamma^phi, all three at least 1. By the formula, the cost grows by (alpha beta^2 gamma^2)^phi. The
real cost differs, because layers are whole numbers and channels are multiples of 8
(`scaling.budget`). Tan & Le 2021 (EfficientNetV2), section 3.3, add two rules: at most 480 px for
inference, and gradually more of the additional layers in the later stages.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from search_spaces.architecture import Architecture
from search_spaces.scale import Rounding, scale
from vbs.text import quoted

__all__ = [
    "PUBLISHED",
    "Coefficients",
    "Factors",
    "Rules",
    "grown",
    "layers_of",
    "scale",
    "staged_layers",
    "with_layers",
]

V2_LARGEST = 480  # pixels


class Factors(NamedTuple):
    """Factors of the depth, width and resolution of a network."""

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    @property
    def growth(self) -> float:
        """Factor of the cost by the formula."""
        return self.depth * self.width**2 * self.resolution**2


@dataclass(frozen=True)
class Coefficients:
    """Coefficients alpha (depth), beta (width) and gamma (resolution) of compound scaling.

    Raises ValueError for a coefficient below 1, which would shrink the family.
    """

    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 1 <= value <= 100:
                raise ValueError(
                    f"{field.name}: {quoted(value)} is not allowed; use a number from 1 to 100"
                )
            object.__setattr__(self, field.name, float(value))

    def factors(self, phi: float = 1.0) -> Factors:
        """Return the factors after `phi` steps; a negative phi shrinks the network."""
        if isinstance(phi, bool) or not isinstance(phi, int | float) or not abs(phi) <= 100:
            raise ValueError(f"phi: {quoted(phi)} is not allowed; use a number from -100 to 100")
        return Factors(self.alpha**phi, self.beta**phi, self.gamma**phi)

    @property
    def growth(self) -> float:
        """Factor of the cost for each step of phi, by the formula."""
        return self.factors().growth

    def __str__(self) -> str:
        return f"({self.alpha:g}, {self.beta:g}, {self.gamma:g})"


GREEK = ("alpha", "beta", "gamma")
PUBLISHED = Coefficients(1.2, 1.1, 1.15)
ROUNDINGS = (2, 4, 8, 16, 32)  # multiples of channels that commands accept


@dataclass(frozen=True)
class Rules:
    """How scaled depth, width and resolution are rounded and limited.

    kind            "compound" (Tan & Le 2019), or "v2": at most `V2_LARGEST` pixels, and gradually
                    more of the additional layers in the later stages (`staged_layers`).
    layers          rounding of layers: "up", as published, or "nearest", with smaller steps. For
                    "v2" it applies to the sum of layers.
    max_resolution  largest input side; None: no additional limit.
    round_to, floor, fixed_ends  see `search_spaces.scale.scale`.
    resolution_step  input sides are rounded to multiples of this number of pixels.
    within          parent network whose weights the members can inherit as sub-networks; None: no
                    parent.
    """

    kind: str = "compound"
    layers: str = "up"
    max_resolution: int | None = None
    round_to: int = 8
    floor: float = 0.9
    fixed_ends: bool = False
    resolution_step: int = 1
    within: Architecture | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("compound", "v2"):
            raise ValueError(f"rules: {quoted(self.kind)} is unknown; use compound or v2")
        if self.layers not in ("up", "nearest"):
            raise ValueError(f"layers: {quoted(self.layers)} is unknown; use up or nearest")
        if self.max_resolution is not None and self.max_resolution < 1:
            raise ValueError(
                f"max_resolution: {quoted(self.max_resolution)} is not a number of pixels"
            )
        if self.resolution_step < 1:
            raise ValueError(
                f"resolution_step: {quoted(self.resolution_step)} is not a number of pixels"
            )
        Rounding(round_to=self.round_to, floor=self.floor)  # raises for invalid values

    @property
    def rounding(self) -> Rounding:
        """Rounding of channels."""
        return Rounding(round_to=self.round_to, floor=self.floor)

    def side(self, resolution: int, factor: float) -> int:
        """Return the input side in pixels, `factor` times `resolution` within the rules.

        Raises ValueError if the side would be 0.
        """
        step = self.resolution_step
        side = math.floor(resolution * factor / step + 0.5) * step
        largest = self.largest
        if largest is not None:
            side = min(side, largest // step * step)
        if side < 1:
            raise ValueError(f"resolution: {factor:.3g} times {resolution} px is below 1 px")
        return side

    @property
    def largest(self) -> int | None:
        """Largest input side that the rules allow; None: no limit."""
        whole = None if self.within is None else self.within.resolution
        sides = [self.max_resolution, self._v2_largest, whole]
        return min((side for side in sides if side is not None), default=None)

    def fitted(self, network: Architecture) -> Architecture | None:
        """Return the network limited to a sub-network of `within`; None if that is impossible."""
        if self.within is None:
            return network
        from search_spaces.parent import within_parent

        return within_parent(network, self.within)

    @property
    def _v2_largest(self) -> int | None:
        return V2_LARGEST if self.kind == "v2" else None


def grown(architecture: Architecture, factors: Factors, rules: Rules | None = None) -> Architecture:
    """Return the architecture scaled by the factors under the rules, with published rounding.

    Raises ValueError for an invalid factor, and if the feature maps vanish.
    """
    rules = rules or Rules()
    side = rules.side(architecture.resolution, factors.resolution)
    wide = scale(
        architecture, width=factors.width, rounding=rules.rounding, fixed_ends=rules.fixed_ends
    )
    deep = with_layers(wide, layers_of(architecture, factors.depth, rules))
    found = rules.fitted(dataclasses.replace(deep, resolution=side))
    if found is None:
        raise ValueError(
            f"width: {factors.width:.3g} is not allowed; it changes the parent's residual shortcuts"
        )
    return found


def layers_of(architecture: Architecture, depth: float, rules: Rules) -> list[int]:
    """Return the layers of each stage, `depth` times those of the architecture, under the rules."""
    _positive(depth)
    own = [stage.layers for stage in architecture.stages]
    if rules.kind == "v2":
        return staged_layers(own, _rounded(depth * sum(own), rules.layers))
    fixed = (0, len(own) - 1) if rules.fixed_ends else ()
    return [
        count if index in fixed else max(1, _rounded(depth * count, rules.layers))
        for index, count in enumerate(own)
    ]


def _rounded(layers: float, how: str) -> int:
    return math.ceil(layers) if how == "up" else math.floor(layers + 0.5)


def with_layers(architecture: Architecture, layers: Sequence[int]) -> Architecture:
    """Return the architecture with these numbers of layers in its stages."""
    stages = tuple(
        dataclasses.replace(stage, layers=count)
        for stage, count in zip(architecture.stages, layers, strict=True)
    )
    return dataclasses.replace(architecture, stages=stages)


def staged_layers(layers: Sequence[int], total: int) -> list[int]:
    """Distribute `total` layers by the rule of EfficientNetV2: later stages get more extra layers.

    The share of a stage in the additional layers is proportional to its layers times its position,
    from 1 for the first stage to n for the last. Shares are rounded down, and the remaining layers
    go to the stages with the largest remainders. Layers are removed with the same weights, and each
    stage keeps at least one.
    """
    extra = total - sum(layers)
    weights = [count * place for place, count in enumerate(layers, start=1)]
    exact = [count + extra * w / sum(weights) for count, w in zip(layers, weights, strict=True)]
    found = [max(1, math.floor(count)) for count in exact]
    # the largest remainders first; among equal ones the later stage
    order = sorted(range(len(layers)), key=lambda i: (found[i] - exact[i], -i))
    for index in order[: max(0, total - sum(found))]:
        found[index] += 1
    return found


def _positive(depth: float) -> None:
    if isinstance(depth, bool) or not isinstance(depth, int | float) or not 0 < depth < math.inf:
        raise ValueError(f"depth: {quoted(depth)} is not allowed; use a positive number")


# Dollar, Singh & Girshick 2021, fast compound scaling: shares of depth, width and resolution. Their
# code rounds layers and channels (multiples of 8) to the nearest, and sides to multiples of 4 px.
FAST = (1.0, 8.0, 1.0)
FAST_RULES = Rules(layers="nearest", floor=0.0, resolution_step=4)
# Han et al. 2020, TinyNet-A to E: depth, width and resolution relative to EfficientNet-B0; stem
# and head keep their channels. Width shrinks first and resolution last.
TINY = (
    Factors(1.2, 1.0, 192 / 224),
    Factors(1.1, 0.75, 188 / 224),
    Factors(0.85, 0.54, 184 / 224),
    Factors(0.695, 0.54, 152 / 224),
    Factors(0.6, 0.51, 106 / 224),
)
TINY_RULES = Rules(layers="nearest", fixed_ends=True)


def fast(growth: float, *, weights: Sequence[float] = FAST) -> Factors:
    """Return the factors that multiply FLOPs by `growth`, with shares of depth, width, resolution.

    With the default shares, activations grow approximately as the square root of FLOPs, and
    training time on accelerators follows activations; (1, 1, 1) scales all three equally.
    `FAST_RULES` are the corresponding rules. Source: Dollar, Singh & Girshick 2021, "Fast and
    accurate model scaling".

    Raises ValueError for a growth that is not positive, and for weights that are negative or all 0.
    """
    if isinstance(growth, bool) or not 0 < growth < math.inf:
        raise ValueError(f"growth: {quoted(growth)} is not allowed; use a number above 0")
    if len(weights) != 3 or not all(0 <= each < math.inf for each in weights) or not any(weights):
        raise ValueError(
            f"weights: {quoted(tuple(weights))} are not shares; use three numbers from 0"
        )
    depth, width, side = (each / sum(weights) for each in weights)
    return Factors(growth**depth, growth ** (width / 2), growth ** (side / 2))


def tiny(growth: float) -> Factors:
    """Return the TinyNet factors that multiply FLOPs by `growth`, between TinyNet-A and E.

    The logarithms of the factors are interpolated between the published ones, starting from
    factors of 1. `TINY_RULES` are the corresponding rules. Source: Han et al. 2020, "Model Rubik's
    cube".

    Raises ValueError for a growth outside the range of the published factors.
    """
    known = [Factors(), *TINY]
    lowest = known[-1].growth
    if isinstance(growth, bool) or not lowest <= growth <= 1:
        raise ValueError(
            f"growth: {quoted(growth)} is not allowed; TinyNet shrinks to {lowest:.3f} of the "
            f"FLOPs (phi {math.log2(lowest):.1f}) and does not grow"
        )
    at = next(index for index in range(1, len(known)) if known[index].growth <= growth)
    left, right = known[at - 1], known[at]
    share = math.log(growth / left.growth) / math.log(right.growth / left.growth)
    return Factors(*(a ** (1 - share) * b**share for a, b in zip(left, right, strict=True)))
