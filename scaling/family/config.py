"""Options of `python -m scaling.family`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.block_times.options import RUNTIMES
from nas.devices import DEVICES
from nas.parents.options import target_texts
from scaling.compound import (
    FAST_RULES,
    GREEK,
    PUBLISHED,
    ROUNDINGS,
    TINY_RULES,
    Coefficients,
    Rules,
)
from scaling.options import check_family_growth, check_rounding
from train.options import weights_text
from train.recipe import PRESETS
from vbs.config import Config, ConfigError, number, option
from vbs.options import Command
from vbs.text import one_of, quoted
from vbs.units import LARGEST, parse_quantity

RECORD, FIGURE, MEMBERS = "family.json", "family.png", "members"
MOST = 64  # maximum number of members
LARGEST_PHI = 100
LARGEST_TEST, MOST_PIXELS = 4.0, 4096  # limits of --test-resolution: factor, pixels
RULES = ("compound", "v2", "fast", "tinynet")
EXACT = ("flops", "activations", "memory")  # computed objectives
TIMED = ("latency", "step_time")  # objectives measured on this machine
OBJECTIVES = (*EXACT, *TIMED)  # any other objective is a device
OWN_FACTORS = ("fast", "tinynet")  # rules that also define the factors


@dataclass(frozen=True, kw_only=True)
class FamilyConfig(Config):
    """Options of a family: base, growth, and predictions and measurements of the members."""

    title = "family"

    base: str | None = option(
        None, metavar="NETWORK", help="network that grows (default: the grid's, or efficientnet_b0)"
    )
    parent: str | None = option(
        None,
        metavar="SOURCE",
        parse=weights_text,
        help="shrink this trained network: members are sub-networks that inherit its weights "
        "(default: the teacher of the search with --parent that found the base)",
    )
    targets: str | None = option(
        None,
        metavar="SIZES",
        parse=target_texts,
        help="members within these FLOPs instead of --phi, e.g. 25M,15M",
    )
    weights: bool | None = option(
        None, help="write the weights that members inherit (default: if there is a parent)"
    )
    coefficients: str | None = option(
        None, metavar="FACTORS", help="published, or the grid.json of scaling.grid"
    )
    alpha: float | None = option(None, metavar="X", help="factor of depth for each step of phi")
    beta: float | None = option(None, metavar="X", help="factor of width for each step of phi")
    gamma: float | None = option(
        None, metavar="X", help="factor of resolution for each step of phi"
    )
    phi: tuple[str, ...] | None = option(
        None,
        many=True,
        metavar="PHI",
        help="members: 0..7 (default; -4..0 for tinynet), -2..4, 3, 1.5; negative ones shrink",
    )
    growth: float | None = option(
        None, metavar="X", help="the real cost of each member is X^phi times the base's"
    )
    objective: str = option(
        "flops",
        metavar="|".join((*OBJECTIVES, "DEVICE")),
        help="cost that --growth refers to: FLOPs (default), activations, memory of a training "
        "step, seconds measured here (see --measure), or time on a device (a100, or a file of vbs "
        "device fit)",
    )
    tolerance: float | None = option(
        None, metavar="X", help="tolerance of --growth, as a share (default 0.03; 0.05 of seconds)"
    )
    rules: str = option(
        "compound",
        choices=RULES,
        metavar="|".join(RULES),
        help="v2: at most 480 px, and gradually more of the additional layers in later stages; "
        "fast: mostly width, so that activations grow slowly; tinynet: shrinks width first, "
        "resolution last",
    )
    max_resolution: int | None = option(None, metavar="PX", help="largest input side")
    round_resolution: int | None = option(
        None,
        limits=(1, 1024),
        metavar="PX",
        help="input sides are multiples of PX (default 1; 4 with --rules fast)",
    )
    test_resolution: str | None = option(
        None,
        metavar="PX|X",
        help="test members at PX pixels, or at X times their training side as in 1.15x, after "
        "training them at their own side",
    )
    round_to: int = option(
        8,
        metavar="|".join(map(str, ROUNDINGS)),
        help="channels are multiples of this number (default 8)",
    )
    fixed_ends: bool = option(
        False,
        help="do not scale stem, head, and the layers of first and last stage (EfficientNet-Lite)",
    )
    recipe: str = option(
        "efficientnet",
        catalog=PRESETS,
        help="recipe of the training whose memory is estimated (default efficientnet)",
    )
    batch: int = option(
        32, metavar="N", help="batch per device, for the estimated memory (default 32)"
    )
    precision: str = option(
        "float32",
        choices=("float32", "bfloat16"),
        metavar="float32|bfloat16",
        help="precision of the training, for the estimated memory (default float32)",
    )
    base_top1: float | None = option(
        None,
        limits=(1, 95),
        metavar="X",
        help="ImageNet top-1 of the base in percent, for predictions (default: as published)",
    )
    known: tuple[str, ...] = option(
        (),
        many=True,
        metavar="MEMBER=X",
        help="top-1 of trained members in percent, b0=77.1 or by phi 0=77.1; the others are "
        "predicted from them",
    )
    memory: float | None = option(
        None,
        metavar="SIZE",
        parse=parse_quantity,
        limits=(0, LARGEST),
        help="refuse members whose training needs more memory in bytes, e.g. 24G",
    )
    times: tuple[str, ...] = option(
        (),
        metavar="FILE",
        help="table of nas.block_times, to predict the times of members whose blocks are in it",
    )
    measure: str | None = option(
        None,
        choices=("latency", "step_time"),
        metavar="latency|step_time",
        help="measure the members' times here, with a batch of --measure-batch",
    )
    measure_batch: int | None = option(
        None, metavar="N", help="batch of --measure (default 1 for latency, 32 for step_time)"
    )
    measure_threads: int | None = option(
        None, metavar="N", help="CPU threads of --measure (default: all processors)"
    )
    runtime: str = option(
        "torch",
        choices=tuple(RUNTIMES),
        metavar="|".join(RUNTIMES),
        help="runtime of --measure latency (default torch)",
    )
    device: str = option(
        "auto", metavar="NAME", help="device of --measure: auto, cpu, cuda, cuda:N"
    )

    def __post_init__(self) -> None:
        if isinstance(self.phi, int | float) and not isinstance(self.phi, bool):
            object.__setattr__(self, "phi", (self.phi,))
        if isinstance(self.phi, Sequence) and not isinstance(self.phi, str):
            texts = [each if isinstance(each, str) else f"{each:g}" for each in self.phi]
            object.__setattr__(self, "phi", tuple(texts))
        super().__post_init__()

    def check(self) -> None:
        check_rounding(self.round_to)
        self.phis()
        if self.rules in OWN_FACTORS:
            for name in ("coefficients", *GREEK):
                if getattr(self, name) is not None:
                    raise ConfigError(name, f"leave it out; --rules {self.rules} sets the factors")
        self.given_coefficients()
        if self.known and self.base_top1 is not None:
            raise ConfigError(
                "base_top1",
                f"leave it out, and add 0={self.base_top1:g} to the values of --known",
            )
        if self.growth is not None:
            check_family_growth(self.growth)
        if self.targets is not None:
            for name in ("phi", "growth", "known"):
                if getattr(self, name):
                    raise ConfigError(name, "leave it out if --targets is given")
            if self.objective != "flops":
                raise ConfigError(
                    "targets", f"targets are FLOPs; for {self.objective}, use --growth and --phi"
                )
        self._check_objective()
        if self.test_resolution is not None:
            test_side_of(self.test_resolution, 1, 1)
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise ConfigError(
                "tolerance", f"{self.tolerance:g} is not allowed; use a share from 0 to 1"
            )

    def _check_objective(self) -> None:
        name = self.objective
        if name not in OBJECTIVES and not is_file_name(name):
            try:
                files = [f"{name}.json"] if Path(f"{name}.json").is_file() else []
                one_of("objective", name, (*OBJECTIVES, *DEVICES, *files))
            except ValueError as error:
                raise ConfigError("objective", str(error).removeprefix("objective: ")) from None
        if name != "flops" and self.growth is None:
            raise ConfigError("objective", f"{name} needs --growth X, the growth of one step")
        if name in TIMED and self.measure not in (None, name):
            raise ConfigError("measure", f"{self.measure} differs from --objective; leave it out")
        if self.runtime != "torch" and "latency" not in (name, self.measure):
            raise ConfigError("runtime", f"{self.runtime} needs --measure latency")

    def phis(self) -> list[float]:
        """Return the phi of all members; raises ConfigError if they cannot be parsed."""
        if self.phi is None:
            return phis_of(["-4..0" if self.rules == "tinynet" else "0..7"])
        return phis_of(self.phi)

    def given_coefficients(self) -> Coefficients | None:
        """Return alpha, beta and gamma if they are given, otherwise None.

        Raises ValueError if only some of them are given, because they cannot be mixed with
        published values.
        """
        values = {name: getattr(self, name) for name in GREEK}
        missing = [f"--{name}" for name, value in values.items() if value is None]
        if len(missing) == len(GREEK):
            return None
        if self.coefficients is not None:
            raise ConfigError("coefficients", "leave it out if --alpha, --beta, --gamma are given")
        alpha, beta, gamma = (1.0 if value is None else value for value in values.values())
        found = Coefficients(alpha, beta, gamma)
        if not missing:
            return found
        hint = f"the published ones are {PUBLISHED}"
        spent = alpha * beta**2 * gamma**2
        if len(missing) == 1 and spent <= 2:
            left = (2 / spent) ** (1.0 if missing == ["--alpha"] else 0.5)
            hint = f"alpha * beta^2 * gamma^2 = 2 gives {missing[0]} {left:.3g}; {hint}"
        raise ValueError(
            f"{missing[0]} is missing; alpha, beta and gamma are given together; {hint}"
        )


def is_file_name(text: str) -> bool:
    """Return whether a device name is a file, as in `nas.devices.load_device`."""
    return text.endswith(".json") or "/" in text


def phis_of(texts: Sequence[str]) -> list[float]:
    """Parse phi values like -2..4, 3 and 1.5; raises ConfigError for an invalid text."""
    found: list[float] = []
    for text in (part for word in texts for part in word.split(",") if part):
        ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", text)
        try:
            if ends and int(ends[1]) <= int(ends[2]):
                first, last = int(ends[1]), int(ends[2])
                found += [float(phi) for phi in range(first, min(last, first + MOST) + 1)]
            else:
                found.append(float(text))
        except ValueError:
            hint = "write 0..7, -2..4, 3 or 1.5"
            raise ConfigError("phi", f"{quoted(text, 60)} is not understood; {hint}") from None
    found = list(dict.fromkeys(found))
    if not found or len(found) > MOST:
        raise ConfigError("phi", f"{len(found)} members are not allowed; use 1 to {MOST}")
    wrong = [phi for phi in found if not abs(phi) <= LARGEST_PHI]
    if wrong:
        raise ConfigError(
            "phi",
            f"{wrong[0]:g} is not allowed; use numbers from -{LARGEST_PHI} to {LARGEST_PHI}",
        )
    return found


def rules_of(config: FamilyConfig) -> Rules:
    """Return the rounding rules, including those of the published V2 and Lite families."""
    assert config.base is not None
    name = "" if Path(config.base).is_file() else config.base.removeprefix("tf_")
    if config.rules in OWN_FACTORS:
        rules = FAST_RULES if config.rules == "fast" else TINY_RULES
    else:
        floor = 0.0 if name.startswith("efficientnetv2_b") else 0.9
        rules = Rules(config.rules, floor=floor)
    return replace(
        rules,
        max_resolution=config.max_resolution,
        round_to=config.round_to,
        fixed_ends=config.fixed_ends or rules.fixed_ends or name.startswith("efficientnet_lite"),
        resolution_step=config.round_resolution or rules.resolution_step,
    )


def test_side_of(text: str, side: int, step: int) -> int:
    """Return the input side for testing a network that is trained at `side` pixels.

    text  pixels, or a factor that ends with x; the side of a factor is a multiple of `step`.

    Raises ConfigError for an invalid text, and for fewer pixels than in training.
    """
    name = "test_resolution"
    factor = text.strip().lower().removesuffix("x")
    is_factor = factor != text.strip().lower()
    if not is_factor and "." in factor:
        number(name, float, factor)
        raise ConfigError(name, f"{text} is not a number of pixels; use {factor}x for a factor")
    value = number(name, float if is_factor else int, factor)
    if is_factor:
        if not 1 <= value <= LARGEST_TEST:
            raise ConfigError(name, f"{text} is not allowed; use 1x to {LARGEST_TEST:g}x")
        return max(side, math.floor(side * value / step + 0.5) * step)
    if not side <= value <= MOST_PIXELS:
        if side == 1 or value > MOST_PIXELS:
            raise ConfigError(
                name, f"{text} is not allowed; use pixels up to {MOST_PIXELS:,}, or a factor: 1.15x"
            )
        raise ConfigError(
            name, f"{text} px are fewer than the {side} px of training; use a factor such as 1.15x"
        )
    return int(value)


COMMAND = Command(
    program="scaling.family",
    config=FamilyConfig,
    run="scaling.family.run:grow_family",
    report="scaling.family.report:show_result",
    kind="family",
    record=RECORD,
    resumable=False,
    description="Grow a family from one baseline.",
    epilog="""\
NETWORK is a zoo name (efficientnet_b0), a JSON file (an architecture, a best.json of nas.search),
or a .safetensors file with an architecture. FACTORS is published (those of EfficientNet-B0 to B8
and L2, the default), or the grid.json of scaling.grid. With --growth 2 the real cost of every
member is 2^phi times the base's. The folder gets family.json (all numbers), family.png, and
members/NAME.json, for train.run, train.ray_tune and search_spaces.show; if members are
sub-networks of a parent, also members/NAME.safetensors, for train.run --init. --recipe also accepts
your own code: package.module:Name or path/to/file.py:Name.""",
)
