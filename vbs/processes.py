"""Identity of processes, whose numbers are reused, and the processors that this one may use."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from pathlib import Path

from vbs.cgroups import OWN, ROOT, cpu_quota


@functools.cache
def place() -> str:
    """What tells one set of process numbers from another (this boot of this machine, this
    container), 8 hex digits; "" where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]
    except OSError:
        return ""


def start(process: int) -> str:
    """When a process of this place began, in ticks since boot; "-" where there is none, "" where
    unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "-" if fields[0] in "ZX" else fields[19]  # a zombie does no work any more
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
    """Processors that this process may use, at least 1.

    As many as its affinity allows (`taskset`, Slurm), and no more than the quotas of its control
    groups, rounded up (containers). root and own are where these are described, see
    `vbs.cgroups.cpu_quota`.
    """
    if hasattr(os, "process_cpu_count"):  # Python 3.13; PYTHON_CPU_COUNT changes it
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cpu_quota(root, own)
    return count if quota is None else max(1, min(count, math.ceil(quota)))
