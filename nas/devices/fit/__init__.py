"""Fit of your own device to a measured kit: `python -m nas.devices.fit`.

The command reads the times of a kit of `nas.devices.kit`, fits a device to them with the measured
devices as prior, and writes a device file for the option --on of other commands.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.devices.fit.config import FitConfig
    from nas.devices.fit.run import Checked, FitResult, fit_kit

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Checked": "nas.devices.fit.run",
        "FitConfig": "nas.devices.fit.config",
        "FitResult": "nas.devices.fit.run",
        "fit_kit": "nas.devices.fit.run",
    },
)
