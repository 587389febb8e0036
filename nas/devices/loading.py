"""Loading of devices by name or from a device file."""

from __future__ import annotations

from pathlib import Path

from nas.devices.measured import MeasuredDevice, measured_device
from nas.devices.names import DEVICES
from nas.devices.own import OwnDevice, read_own
from vbs.text import quoted, shortened

Device = MeasuredDevice | OwnDevice


def load_device(name_or_file: str | Path) -> Device:
    """Return a measured device by its name, or your own device from its .json file.

    Raises ValueError for an unknown name (the message suggests the nearest), and for a file that
    is missing or not a device file.
    """
    text = str(name_or_file)
    if text not in DEVICES and (text.endswith(".json") or "/" in text):
        return read_own(text)
    if text not in DEVICES and Path(f"{text}.json").is_file():
        shown = shortened(f"{text}.json", 60)
        raise ValueError(f"device: {quoted(text, 60)} is unknown; did you mean the file {shown}?")
    return measured_device(text)
