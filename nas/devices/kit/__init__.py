"""Networks to measure on a device of one's own: `python -m nas.devices.kit`.

Chooses the networks of a space that tell most of an unknown device, and writes them as ONNX files
with a program that measures them. `nas.devices.fit` makes a device of the times.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.devices.kit.config import KitConfig
    from nas.devices.kit.run import KitResult, write_kit

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "KitConfig": "nas.devices.kit.config",
        "KitResult": "nas.devices.kit.run",
        "write_kit": "nas.devices.kit.run",
    },
)
