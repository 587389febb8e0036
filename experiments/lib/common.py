"""Machine and versions in result files, and the entry point of experiments."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from pathlib import Path
from typing import NoReturn

from vbs.command import run_program
from vbs.processes import available_cpus

RESULTS = Path(__file__).parents[1] / "results"
INTERRUPTED = "interrupted; run the same command again to resume"
PACKAGES = ("numpy", "optuna", "torch", "timm", "scikit-learn", "lightgbm")


def settings_of_machine() -> dict[str, object]:
    """Return versions, processor and cores as plain data."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"machine": processor(), "cpus": available_cpus(), "versions": versions}


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def run_experiment(module: str, function: str = "main") -> NoReturn:
    """Import an experiment's module, call its function, and exit; see `vbs.command.run_program`."""
    run_program(module.rpartition(".")[2], module, function, interrupted=INTERRUPTED)


def device_name(device: str) -> str:
    """Return the name of the GPU or of the processor for a device of `Execution`."""
    import torch

    from train.distributed import pick_device

    where = pick_device(device)
    return processor() if where.type == "cpu" else torch.cuda.get_device_name(where)


def processor() -> str:
    """Return the processor's name as the system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
