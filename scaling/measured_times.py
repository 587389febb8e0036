"""Measured times that decisions hang on."""

from __future__ import annotations

from collections.abc import Sequence

from nas.block_times.rounds import Timing
from nas.stopped import BusyMachine


def trusted(times: Sequence[Timing], *, remedy: str) -> list[float]:
    """The seconds, for a decision that hangs on them; BusyMachine where one is in doubt.

    remedy  what the user may do about it.
    """
    doubts = [time.doubt for time in times if time.doubt]
    if doubts:
        raise BusyMachine(f"times: what was measured cannot be trusted ({doubts[0]}); {remedy}")
    return [time.seconds for time in times]
