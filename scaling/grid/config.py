"""Options of `python -m scaling.grid`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.block_times.options import RUNTIMES
from scaling.compound import ROUNDINGS
from scaling.options import ComparisonOptions, check_rounding, network_text
from vbs.config import option
from vbs.options import Command
from vbs.units import LARGEST, parse_quantity

# defaults of the proxy: FLOPs, smallest width, largest side
PROXY_FLOPS, NARROWEST, PROXY_SIDE = 3e6, 0.15, 96
# channels are multiples of 8, or of FINE if half of the stages have fewer than NARROW channels,
# because multiples of 8 would not change such stages for most widths
NARROW, FINE = 64, 2
RECORD, FIGURE = "grid.json", "grid.png"
MOST = 100  # maximum number of candidates; a decision of a study has at most 127 options


def check_growth(growth: float, step: float, tolerance: float) -> None:
    """Raise ValueError for an invalid growth, step or tolerance."""
    if not 1 < growth <= 10:
        raise ValueError(f"growth: {growth!r} is not allowed; use a number above 1, up to 10")
    if not 0.01 <= step <= 1:
        raise ValueError(f"step: {step!r} is not allowed; use a number from 0.01 to 1")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: {tolerance!r} is not allowed; use a share from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class GridConfig(ComparisonOptions):
    """Options of a grid: the growth of the baseline, and the comparison of the candidates."""

    title = "grid"

    base: str = option(
        "efficientnet_b0",
        metavar="NETWORK",
        parse=network_text,
        help="network that grows (default efficientnet_b0)",
    )
    base_top1: float | None = option(
        None,
        metavar="X",
        limits=(1, 95),
        help="ImageNet top-1 of the base in percent, without --data (default: as published)",
    )
    growth: float = option(
        2.0, metavar="X", help="cost of one step relative to the base (default 2)"
    )
    step: float = option(0.05, metavar="X", help="step of the grid (default 0.05)")
    tolerance: float = option(
        0.05, metavar="X", help="tolerance of the growth, as a share (default 0.05)"
    )
    candidates: int = option(
        14,
        metavar="N",
        limits=(4, MOST),
        help="number of candidates of the grid that are trained, spread widely, in addition to "
        "three controls (default 14)",
    )
    seeds: int = option(
        3, metavar="N", limits=(1, 100), later=True, help="trainings of each candidate (default 3)"
    )
    prior_weight: float | None = option(
        None,
        metavar="X",
        limits=(0, 1),
        later=True,
        help="weight of published trainings as prior of the surface, from 0 (none) to 1 (default: "
        "learned from the accuracies)",
    )
    objective: str = option(
        "flops",
        metavar="flops|latency|step_time",
        choices=("flops", "latency", "step_time"),
        help="cost that --growth refers to: FLOPs (default), or seconds measured on this machine",
    )
    measure_batch: int = option(32, metavar="N", help="batch of measured seconds (default 32)")
    runtime: str = option(
        "torch",
        choices=tuple(RUNTIMES),
        metavar="|".join(RUNTIMES),
        help="runtime of measured latencies (default torch)",
    )
    rules: str = option(
        "compound", metavar="compound|v2", help="how layers are scaled (default compound)"
    )
    round_to: int | None = option(
        None,
        metavar="|".join(map(str, ROUNDINGS)),
        help=f"channels are multiples of this number (default 8, or {FINE} if half of the proxy's "
        f"stages have fewer than {NARROW} channels)",
    )
    proxy_width: float | None = option(
        None, metavar="X", help="factor of the proxy's channels over the base's"
    )
    proxy_resolution: int | None = option(
        None,
        metavar="PX",
        help=f"input side of the proxy (default: that of the images, at most {PROXY_SIDE})",
    )
    proxy_flops: float | None = option(
        None,
        metavar="SIZE",
        parse=parse_quantity,
        limits=(0, LARGEST),
        help=f"largest FLOPs of the proxy, which is narrowed to them (default 3M, but at least "
        f"{NARROWEST} of the base's width)",
    )
    small_images: bool | None = option(
        None,
        help="use fewer strides (default: for sides of at most 64 px, if the base is for larger "
        "images)",
    )
    study: str = option("grid", metavar="NAME", later=True, help="name of the study (default grid)")

    def check(self) -> None:
        super().check()
        if self.data is not None and self.base_top1 is not None:
            raise ValueError("--base-top1: leave it out if --data is given")
        if self.round_to is not None:
            check_rounding(self.round_to)
        check_growth(self.growth, self.step, self.tolerance)
        if self.proxy_width and self.proxy_flops:
            raise ValueError("--proxy-flops: leave it out if --proxy-width is given")


COMMAND = Command(
    program="scaling.grid",
    config=GridConfig,
    run="scaling.grid.run:run_grid",
    report="scaling.grid.report:show_result",
    kind="grid",
    noun="grid",
    record=RECORD,
    description="Find the scaling coefficients alpha, beta and gamma of a baseline.",
    epilog="""\
NETWORK is a zoo name (efficientnet_b0), or a JSON file: an architecture, or a best.json of
nas.search. Without --data, gains are predicted from published ImageNet trainings, in seconds.
With --data DATA (see train.run), candidates are trained. Because only ratios are learned, they are
not grown from the base but from its proxy, which is narrower and has the side of the images. The
folder gets grid.json (candidates, accuracies, choice), grid.png, and study.db with every training;
scaling.family --coefficients DIR/grid.json grows the family. --resume --out DIR trains what is
missing; with a larger --seeds it adds seeds.""",
    switches={
        "dry_run": "list the candidates and train nothing",
        "retry_failed": "with --resume: repeat failed trainings",
    },
    interrupted="interrupted; resume with --resume --out DIR",
)
