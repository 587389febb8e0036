"""Devices by name or from a device file."""

from __future__ import annotations

from pathlib import Path

from nas.devices.measured import DEVICES, MeasuredDevice, measured_device
from nas.devices.own import OwnDevice, read_own

Device = MeasuredDevice | OwnDevice


def load_device(name_or_file: str | Path) -> Device:
    """A measured device by its name, or a device of the user's own from its .json file.

    Raises ValueError with the nearest names for an unknown device, and in one line for a file
    that is missing or is no device file.
    """
    text = str(name_or_file)
    if text not in DEVICES and (text.endswith(".json") or "/" in text):
        return read_own(text)
    return measured_device(text)
