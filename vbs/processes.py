"""Identity of processes, whose IDs are reused, and the number of available processors."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from pathlib import Path

from vbs.cgroups import OWN, ROOT, cpu_quota


@functools.cache
def place() -> str:
    """Return 8 hex digits that identify the process ID namespace: this boot, this container.

    "" if unknown.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]
    except OSError:
        return ""


def start(process: int) -> str:
    """Return the start time of a local process, in clock ticks since boot.

    "-" if there is no such process, "" if unknown.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "-" if fields[0] in "ZX" else fields[19]  # a zombie has ended
    except OSError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return "-"
    except OSError:
        pass
    return ""


def available_cpus(root: Path = ROOT, own: Path = OWN) -> int:
    """Return the number of processors that this process may use, at least 1.

    It is limited by the affinity (`taskset`, Slurm) and by the quotas of the control groups
    (containers), rounded up. For root and own see `vbs.cgroups.cpu_quota`.
    """
    if hasattr(os, "process_cpu_count"):  # Python 3.13; PYTHON_CPU_COUNT overrides it
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cpu_quota(root, own)
    return count if quota is None else max(1, min(count, math.ceil(quota)))
