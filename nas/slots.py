"""Number of evaluations that run in parallel on this machine or cluster."""

from __future__ import annotations

from train.cluster.connect import check_fits
from train.cluster.host import cluster_resources
from train.cluster.place import Place
from train.options import PlaceOptions
from vbs.processes import available_cpus


def slots(options: PlaceOptions, *, trains: bool = True) -> Place:
    """Return the number of workers, and the processors and GPUs of each.

    Options that are not set get the largest values that fit.

    trains  whether evaluations train; scores without training are computed on processors.

    Raises ValueError if the cluster or this machine has too few processors or GPUs for one
    evaluation.
    """
    address = None if options.address == "local" else options.address
    nodes = _nodes(address)
    has = {
        "cpus": sum(node.get("CPU", 0.0) for node in nodes),
        "gpus": sum(node.get("GPU", 0.0) for node in nodes),
    }
    cpus, gpus = options.cpus, options.gpus
    if gpus is None:
        gpus = 1.0 if options.device != "cpu" and trains else 0.0
        gpus = min(gpus, has["gpus"])
    if address is not None:
        check_fits(cpus, gpus, what="training", nodes=nodes)
    elif gpus > has["gpus"]:
        raise ValueError(
            f"--gpus: a training needs {gpus:g} GPUs, but this machine has {has['gpus']:g}"
        )
    fits = [has[name] / each for name, each in (("cpus", cpus), ("gpus", gpus)) if each]
    most = max(1, int(min(fits, default=1)))
    workers = most if options.workers is None else options.workers
    if gpus and address is None and workers > most:
        raise ValueError(
            f"--workers: {workers} trainings on {gpus:g} GPUs each do not fit at once here; "
            f"use at most {most}"
        )
    return Place(workers, cpus, gpus, address)


def _nodes(address: str | None) -> list[dict[str, float]]:
    """Return processors ("CPU") and GPUs ("GPU") of each node of the cluster, or this machine."""
    if address is not None:
        return cluster_resources(address)
    import torch

    return [{"CPU": float(available_cpus()), "GPU": float(torch.cuda.device_count())}]
