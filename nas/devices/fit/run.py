"""Fit of a device from its config: `fit_kit`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.devices.fit.config import FitConfig
from nas.devices.kit.reading import MeasuredKit, read_kit
from nas.devices.own import OwnDevice, fit_device, rank_agreement
from search_spaces.catalog import SPACES
from vbs.lock import owned
from vbs.plugins import is_reference


@dataclass(frozen=True)
class Checked:
    """Errors on networks that were not used for the fit.

    networks      number of these networks.
    median_error, mean_error, largest_error  relative errors.
    tau           Kendall's tau of predicted and measured times.
    tau_of_flops  Kendall's tau of FLOPs and measured times.
    covered       share of measured times within two standard deviations of the prediction.
    """

    networks: int
    median_error: float
    mean_error: float
    largest_error: float
    tau: float
    tau_of_flops: float
    covered: float


@dataclass(frozen=True)
class FitResult:
    """A device that was fitted to a kit.

    path     the device file.
    checked  errors on the networks of the kit that only test the fit; None without such networks.
    """

    device: OwnDevice
    kit: MeasuredKit
    path: Path
    checked: Checked | None
    config: FitConfig

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return 0


def fit_kit(config: FitConfig, *, any_unit: bool = False, skip_missing: bool = False) -> FitResult:
    """Fit a device to the times in a kit, and write the device file.

    any_unit      whether to accept times that appear to be in another unit.
    skip_missing  whether to leave out networks without a time.

    Raises ValueError for a kit without times or with implausible times, and if the device file
    exists. Raises OSError with its name if it cannot be written.
    """
    assert config.kit is not None  # see FitConfig.check
    assert config.name is not None
    path = Path(config.out or f"{config.name}.json")
    _check_free(path)
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out: the folder {path.absolute().parent} does not exist")
    own_space = config.space if config.space and is_reference(config.space, SPACES) else None
    kit = read_kit(Path(config.kit), own_space=own_space, skip_missing=skip_missing)
    if config.space is not None and own_space is None and config.space != kit.space.name:
        raise ValueError(f"--space: the kit is of space {kit.space.name}; leave --space out")
    try:
        device = fit_device(
            kit.space, kit.genotypes, kit.seconds, config.name, batch=kit.batch, any_unit=any_unit
        )
    except ValueError as error:
        text = str(error).replace("any_unit=True accepts", "--any-unit accepts")
        raise ValueError(f"{config.kit}: {text}") from None
    try:
        with owned(path.absolute().parent, "nas.devices.fit", name=f".{path.name}.owner.json"):
            _check_free(path)  # another process may have written it in the meantime
            device.save(path)
    except OSError as error:
        error.filename = str(path)  # errors of a full disk or of the lock do not name this file
        raise
    return FitResult(device, kit, path, _checked(device, kit), config)


def _check_free(path: Path) -> None:
    """Raise ValueError if the device file exists, even as a broken link."""
    if os.path.lexists(path):
        raise ValueError(f"--out: {path} exists; remove it, or use another --out")


def _checked(device: OwnDevice, kit: MeasuredKit) -> Checked | None:
    measured = kit.check_seconds
    if len(measured) < 2:
        return None
    predicted, deviation = device.predict(kit.space, kit.check_genotypes, "latency")
    relative = np.abs(predicted / measured - 1)
    flops = kit.space.costs(kit.check_genotypes).flops
    return Checked(
        networks=len(measured),
        median_error=float(np.median(relative)),
        mean_error=float(relative.mean()),
        largest_error=float(relative.max()),
        tau=rank_agreement(predicted, measured),
        tau_of_flops=rank_agreement(flops.astype(float), measured),
        covered=float((np.abs(predicted - measured) <= 2 * deviation).mean()),
    )
