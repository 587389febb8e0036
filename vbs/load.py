"""Load of the machine during a measurement: whether other programs took processor time.

A measured time is reliable only on an idle machine. Three counters of Linux show contention: the
time that each thread was ready to run and waited for a processor (/proc/PID/task/TID/schedstat,
Documentation/scheduler/sched-stats.rst), the busy time of each processor (/proc/stat), and the
periods in which the quota of a container throttled it (cpu.stat of its control group). On other
systems they are unknown, and only the spread of repeated runs shows contention.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from vbs.cgroups import throttled
from vbs.processes import available_cpus

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
BUSY = (1, 2, 3, 6, 7)  # fields of /proc/stat: user, nice, system, irq, softirq
STEAL = 8  # field: time that the host of a virtual machine gave to others
NOTICED = 0.1  # processors used by others, and share of time, that are reported


@dataclass(frozen=True)
class Load:
    """Load of the machine between two moments.

    seconds    wall-clock time.
    waited     total seconds that threads of this process waited for a processor; None if unknown.
    others     mean number of processors, of those available to this process, that other programs
               used; None if unknown.
    stolen     mean number of processors that the host of a virtual machine took.
    throttled  periods in which the quota of a container throttled this process.
    cpus       processors available to this process.
    """

    seconds: float
    waited: float | None
    others: float | None
    stolen: float
    throttled: int
    cpus: int

    def crowds(self, threads: int) -> bool:
        """Return whether `threads` threads did not get one processor each."""
        short = (self.others or 0.0) + self.stolen + threads > self.cpus + NOTICED
        return short or self.throttled > 0

    @property
    def waiting(self) -> float:
        """Mean number of waiting threads: 1.0 if one thread always waited."""
        return (self.waited or 0.0) / self.seconds

    def __str__(self) -> str:
        """Describe the contention; "" if there was none."""
        found = []
        if self.others is not None and self.others > NOTICED:
            found.append(f"other programs used {self.others:.1f} of {self.cpus} processors")
        if self.stolen > NOTICED:
            found.append(f"the host of this virtual machine took {self.stolen:.1f} processors")
        if self.throttled:
            found.append(f"the container's processor quota stopped it {self.throttled} times")
        return ", ".join(found)


class LoadWatch:
    """Counts the load from its construction on; see `load`."""

    def __init__(self) -> None:
        self._began, self._own = time.perf_counter(), time.process_time()
        self._waited, self._throttled = waited(), throttled()
        self._busy, self._stolen = _processors()

    def load(self) -> Load:
        """Return the load since construction."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        own = time.process_time() - self._own
        now, (busy, stolen) = waited(), _processors()
        others = None
        if busy is not None and self._busy is not None:
            others = max(0.0, busy - self._busy - own) / seconds
        return Load(
            seconds,
            None if now is None or self._waited is None else max(0.0, now - self._waited),
            others,
            max(0.0, stolen - self._stolen) / seconds,
            max(0, throttled() - self._throttled),
            available_cpus(),
        )


def waited() -> float | None:
    """Return the seconds that the current threads of this process have waited for a processor.

    Only time in which a thread was ready to run counts. None if the system does not report it.
    """
    total = 0
    try:
        for thread in os.scandir("/proc/self/task"):
            try:
                total += int(Path(thread.path, "schedstat").read_bytes().split()[1])
            except FileNotFoundError:
                if thread.name == str(os.getpid()):
                    return None
                # another thread has ended in the meantime
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9


def _processors() -> tuple[float | None, float]:
    """Return the busy and stolen seconds since boot of the processors available to this process."""
    if not hasattr(os, "sched_getaffinity"):
        return None, 0.0
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        counts = [[0, *map(int, line[1:])] for line in lines if line and line[0] in mine]
        busy = sum(count[field] for count in counts for field in BUSY)
        stolen = sum(count[STEAL] for count in counts if len(count) > STEAL)
    except (OSError, ValueError, IndexError):
        return None, 0.0
    return (busy / TICKS if counts else None), stolen / TICKS
