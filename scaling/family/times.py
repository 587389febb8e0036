"""Measured times of a family's members, with their spread and a mark if they are unreliable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.block_times.rounds import Timing
from nas.block_times.whole import LONG, SECONDS, measured
from scaling.budget import Costs
from scaling.family.config import TIMED, FamilyConfig
from scaling.family.members import Member
from scaling.measured_times import trusted
from search_spaces.architecture import Architecture
from vbs.console import print_err
from vbs.processes import available_cpus
from vbs.text import counted
from vbs.units import short_seconds


def remedy(config: FamilyConfig) -> str:
    """Return advice for unreliable times."""
    fewer = "" if config.measure_threads == 1 else ", or with --measure-threads 1"
    return f"measure again while the machine does nothing else{fewer}"


def timed(networks: Sequence[Architecture], config: FamilyConfig) -> list[Timing]:
    """Measure networks on this machine, for a resolved config.

    Measurements take longer if they select the members, because small differences then matter.
    """
    from nas.block_times.timing import Setting

    assert config.measure is not None
    assert config.measure_batch is not None
    setting = Setting(
        config.measure,
        batch=config.measure_batch,
        device=config.device,
        threads=config.measure_threads or available_cpus(),
        recipe=config.recipe,
        runtime=config.runtime,
    )
    seconds = SECONDS if config.objective not in TIMED else LONG
    return measured(networks, setting, seconds=seconds, report=print_err)


def seconds_of(config: FamilyConfig) -> Costs:
    """Return a function that measures seconds to select members; it may raise BusyMachine."""
    return lambda networks: trusted(timed(networks, config), remedy=remedy(config))


def measure(
    base: Architecture,
    members: Sequence[Member],
    rows: Sequence[dict[str, Any]],
    config: FamilyConfig,
) -> None:
    """Measure all members and the base in one run, and add the times to the rows."""
    own, *times = timed([base, *(member.architecture for member in members)], config)
    for row, time in zip(rows, times, strict=True):
        row[f"measured_{config.measure}"] = {
            "seconds": time.seconds,
            "spread": time.spread,
            "doubt": time.doubt or own.doubt,
            "growth": round(time.seconds / own.seconds, 4),
        }


def shown_setting(config: FamilyConfig) -> str:
    """Return a sentence on how times were measured; "" if none were."""
    if config.measure is None:
        return ""
    from train.distributed import pick_device

    device = str(pick_device(config.device))
    if device == "cpu":
        device = f"{counted(config.measure_threads or available_cpus(), 'thread')} of the CPU"
    what = config.measure.replace("_", " ")
    return f"measured {what}: a batch of {config.measure_batch} on {device}, by {config.runtime}"


def first_doubt(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return why a measured time of some member is unreliable; "" if all are reliable."""
    times = (value for row in rows for name, value in row.items() if name.startswith("measured_"))
    return next((time["doubt"] for time in times if time["doubt"]), "")


def shown_time(known: Mapping[str, Any] | None) -> str:
    """Format seconds with their spread, the ratio to the base, and ! if they are unreliable."""
    if known is None:
        return "-"
    text = f"{short_seconds(known['seconds'])} ± {short_seconds(known['spread'] / 2)}"
    growth = f" ({known['growth']:.2f}x)" if "growth" in known else ""
    return f"{text}{growth}{'!' if known.get('doubt') else ''}"
