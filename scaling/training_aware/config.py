"""Options of `python -m scaling.training_aware`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.catalog import STRATEGIES
from nas.search.config import whole_quantity
from nas.search.targets import device_names
from scaling.options import ComparisonOptions
from train.options import TIME, absolute_path
from vbs.config import option
from vbs.options import Command
from vbs.units import parse_seconds

RECORD, FIGURE = "training_aware.json", "training_aware.png"
W, V = -0.07, -0.05  # exponents of step time and parameters in the reward of EfficientNetV2


@dataclass(frozen=True, kw_only=True)
class TrainingAwareConfig(ComparisonOptions):
    """Options of a search by EfficientNetV2's reward, and of its family."""

    title = "training-aware search"

    on: str | None = option(
        None,
        metavar="DEVICE",
        parse=device_names,
        help="without --data: the reward uses the time per image on this device, e.g. a100 "
        "(default: the training time of the measurements)",
    )
    budget: int | None = option(
        None,
        metavar="N",
        limits=(1, 10**9),
        parse=whole_quantity,
        later=True,
        help="networks to evaluate (default 60; 100,000 without --data; the paper: 1000)",
    )
    strategy: str | None = option(
        None,
        catalog=STRATEGIES,
        metavar="NAME",
        help="search strategy (default predictor; evolution without --data)",
    )
    seed: int = option(0, limits=(0, 2**63 - 1), metavar="N", help="seed of the search (default 0)")
    w: float = option(
        W, limits=(-10, 0), metavar="W", help=f"exponent of the step time (default {W})"
    )
    v: float = option(
        V, limits=(-10, 0), metavar="V", help=f"exponent of the parameters (default {V})"
    )
    max_step_time: float | None = option(
        None,
        limits=TIME,
        parse=parse_seconds,
        metavar="TIME",
        help="hard limit of the step time, e.g. 80ms (default: twice V2-base's)",
    )
    times: tuple[str, ...] = option(
        (),
        parse=absolute_path,
        metavar="FILE",
        help="table of nas.block_times --kind step_time (default: measured here)",
    )
    width: float = option(0.25, metavar="X", help="factor of the proxies' channels (default 0.25)")
    resolution: int | None = option(
        None, metavar="PX", help="input side of the proxies (default: that of the images)"
    )
    seeds: int = option(
        3,
        limits=(1, 100),
        metavar="N",
        later=True,
        help="seeds of the compared trainings (default 3)",
    )
    members: tuple[str, ...] = option(
        ("s", "m", "l"),
        choices=("s", "m", "l", "xl"),
        many=True,
        later=True,
        metavar="s|m|l|xl",
        help="members of the family (default s m l)",
    )
    max_time: float | None = option(
        None,
        limits=TIME,
        parse=parse_seconds,
        metavar="TIME",
        later=True,
        help="no new network starts after this time, e.g. 2h",
    )


BUDGET = 60  # default number of trained networks


COMMAND = Command(
    program="scaling.training_aware",
    config=TrainingAwareConfig,
    run="scaling.training_aware.run:run_training_aware",
    report="scaling.training_aware.report:show_result",
    kind="aware",
    record=RECORD,
    description="Search for a network that trains fast, and grow it, as EfficientNetV2 was found.",
    epilog="""\
Without --data, accuracy and training time are predicted from published measurements, in seconds.
With --data DATA (see train.run), networks are trained. The folder then gets search/ (see
nas.search), compare/ (equal trainings of the found network, V2-base and B0), training_aware.json
with all numbers, training_aware.png, and members/NAME.json, grown as much as V2-S, M and L are
grown from V2-base. --resume --out DIR resumes.""",
    interrupted="interrupted; resume with --resume --out DIR",
)
