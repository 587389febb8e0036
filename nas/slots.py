"""How many evaluations run at once on this machine or cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.evaluators.proxy import Proxy
from vbs.processes import available_cpus

if TYPE_CHECKING:
    from nas.measured import Measuring


class Slots(NamedTuple):
    """How many evaluations run at once, and on how many processors and GPUs each."""

    workers: int
    cpus: float
    gpus: float


def slots(settings: Mapping[str, Any], measuring: Measuring) -> Slots:
    """What the settings ask for, and what fits where they leave it open.

    ValueError where the cluster, or this machine, has not what one evaluation wants.
    """
    has = resources(settings["address"])
    cpus, gpus = settings["cpus"], settings["gpus"]
    if gpus is None:  # scores without training are computed on processors
        gpus = 1.0 if settings["device"] != "cpu" and measuring.kind is Proxy else 0.0
        gpus = min(gpus, has["gpus"])
    if settings["address"] is not None:
        from train.ray_connect import check_fits

        check_fits(cpus, gpus, what="training")
    elif gpus > has["gpus"]:
        raise ValueError(
            f"--gpus: a training wants {gpus:g} GPUs, but this machine has {has['gpus']:g}"
        )
    fits = [has[name] / each for name, each in (("cpus", cpus), ("gpus", gpus)) if each]
    most = max(1, int(min(fits, default=1)))
    workers = most if settings["workers"] is None else settings["workers"]
    if gpus and settings["address"] is None and workers > most:
        raise ValueError(
            f"--workers: {workers} trainings on {gpus:g} GPUs each do not fit at once here; "
            f"use at most {most}"
        )
    return Slots(workers, cpus, gpus)


def resources(address: str | None) -> dict[str, float]:
    """Processors and GPUs of the cluster, or of this machine."""
    if address is not None:
        from train.ray_connect import connect, total

        connect(address)
        return {"cpus": total("CPU"), "gpus": total("GPU")}
    import torch

    return {"cpus": float(available_cpus()), "gpus": float(torch.cuda.device_count())}
