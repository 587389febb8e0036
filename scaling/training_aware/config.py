"""Options of `python -m scaling.training_aware`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.catalog import STRATEGIES
from nas.search.config import whole_quantity
from nas.search.targets import device_names
from scaling.options import ComparisonOptions
from scaling.training_aware.networks import V, W
from train.options import TIME, absolute_path
from vbs.config import option
from vbs.options import Command
from vbs.units import parse_seconds

RECORD, FIGURE = "training_aware.json", "training_aware.png"


@dataclass(frozen=True, kw_only=True)
class TrainingAwareConfig(ComparisonOptions):
    """A search by EfficientNetV2's reward, and the family of what it finds."""

    title = "training-aware search"

    on: str | None = option(
        None,
        metavar="DEVICE",
        parse=device_names,
        help="without --data: S is the time of an image there, e.g. a100 (default: the training "
        "time of the measurements)",
    )
    budget: int | None = option(
        None,
        metavar="N",
        limits=(1, 10**9),
        parse=whole_quantity,
        later=True,
        help="networks to try (default 60; 100,000 without --data; the paper: 1000)",
    )
    strategy: str | None = option(
        None,
        catalog=STRATEGIES,
        metavar="NAME",
        help="default predictor; evolution without --data",
    )
    seed: int = option(0, limits=(0, 2**63 - 1), metavar="N", help="of the search (default 0)")
    w: float = option(
        W, limits=(-10, 0), metavar="W", help=f"exponent of the time of a step (default {W})"
    )
    v: float = option(
        V, limits=(-10, 0), metavar="V", help=f"exponent of the parameters (default {V})"
    )
    max_step_time: float | None = option(
        None,
        limits=TIME,
        parse=parse_seconds,
        metavar="TIME",
        help="a hard limit, e.g. 80ms (default: twice V2-base's)",
    )
    times: tuple[str, ...] = option(
        (),
        parse=absolute_path,
        metavar="FILE",
        help="a table of nas.block_times --kind step_time (default: measured here)",
    )
    width: float = option(0.25, metavar="X", help="channels of the proxies (default 0.25)")
    resolution: int | None = option(
        None, metavar="PX", help="of the proxies (default: the images')"
    )
    seeds: int = option(
        3,
        limits=(1, 100),
        metavar="N",
        later=True,
        help="seeds of the trainings that are compared (default 3)",
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
        help="no new network begins after that, e.g. 2h",
    )


BUDGET = 60  # networks to train, by default


COMMAND = Command(
    program="scaling.training_aware",
    config=TrainingAwareConfig,
    run="scaling.training_aware.run:run_training_aware",
    report="scaling.training_aware.report:show_result",
    kind="aware",
    record=RECORD,
    description="Search a network that trains fast, and grow it: the method of EfficientNetV2.",
    epilog="""\
Without --data, accuracy and training time are predicted from published measurements, in seconds.
With --data DATA, as in train.run, networks are trained. The folder then gets search/ (as nas.search
writes it), compare/ (what was found beside V2-base and B0, trained alike), training_aware.json with
all figures, training_aware.png, and members/NAME.json, grown as much as V2-S, M and L are from
V2-base. --resume --out DIR resumes.""",
    interrupted="interrupted; resume by --resume --out DIR",
)
