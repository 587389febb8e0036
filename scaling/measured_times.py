"""Check of measured times that decisions are based on."""

from __future__ import annotations

from collections.abc import Sequence

from nas.block_times.rounds import Timing
from nas.stopped import BusyMachine


def trusted(times: Sequence[Timing], *, remedy: str) -> list[float]:
    """Return the seconds of all timings; raises BusyMachine if one is unreliable.

    remedy  what the user can do about it; the end of the message.
    """
    doubts = [time.doubt for time in times if time.doubt]
    if doubts:
        raise BusyMachine(f"times: the measurements are unreliable ({doubts[0]}); {remedy}")
    return [time.seconds for time in times]
