"""Processor limits of the control groups (cgroups) of this process.

A container, a Kubernetes pod or a Slurm job may be limited by a quota instead of an affinity.
Formats: Linux's Documentation/admin-guide/cgroup-v2.rst (cpu.max, cpu.stat), and cgroup-v1/ and
scheduler/sched-bwc.rst (cpu.cfs_quota_us, cpu.cfs_period_us).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Return the number of processors allowed by the quotas of this group and its ancestors.

    If several quotas apply, the smallest one is returned. None if there is no quota, or if there
    are no control groups.

    root  mount point of the control groups.
    own   file that lists the groups of this process.
    """
    quotas = [quota for folder in _folders(root, own) for quota in _quota(folder)]
    return min(quotas, default=None)


def throttled(root: Path = ROOT, own: Path = OWN) -> int:
    """Return the number of periods in which a quota throttled this group or an ancestor."""
    total = 0
    for folder in _folders(root, own):
        for line in _read(folder / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled" and value.isdigit():
                total += int(value)
    return total


def _folders(root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's CPU control groups, each before its parent."""
    for line in _read(own).splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, group = parts
        if not controllers:  # version 2
            mounts = [root, root / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / controllers, root / "cpu"]
        else:
            continue
        mount = next((mount for mount in mounts if _is_mounted(mount, controllers)), None)
        if mount is None:
            continue
        # inside a container, the path may be the host's; then the mount is the container's group
        folder = mount / group.strip("/")
        while folder != mount and mount in folder.parents:
            yield folder
            folder = folder.parent
        yield mount


def _is_mounted(mount: Path, controllers: str) -> bool:
    file = "cgroup.procs" if controllers else "cgroup.controllers"
    return (mount / file).is_file()


def _quota(folder: Path) -> Iterator[float]:
    """Yield the number of processors allowed by the quota of one group, if it has a quota."""
    limit, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not limit:
        limit = _read(folder / "cpu.cfs_quota_us").strip()  # -1: no quota
        period = _read(folder / "cpu.cfs_period_us").strip()
    if limit.isdigit() and period.isdigit() and int(limit) and int(period):
        yield int(limit) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
