"""Kit of networks to measure on your own device: `python -m nas.devices.kit`.

The command chooses the most informative networks of a space, and writes them as ONNX files with a
program that measures them. `nas.devices.fit` fits a device to the times.
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
