"""Prediction of speed on devices: six measured accelerators, and your own devices.

    values, std = load_device("a100").predict(space, genotypes)              # images/s
    values, std = load_device("zcu102").predict(space, genotypes, "latency")  # seconds

Your own device needs about ten measurements:

    genotypes = design(space, 10, rng)          # the networks to measure
    device = fit_device(space, genotypes, seconds, "my-phone")
    device.save("my-phone.json")                # load_device("my-phone.json") reads it

The measured devices predict for the `efficientnet` space. They were fitted to Accel-NASBench
(Ahmad et al., DAC 2024, Apache-2.0) by `experiments.fit_devices`.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.devices.loading import Device, load_device
    from nas.devices.measured import MeasuredDevice
    from nas.devices.names import DEVICES
    from nas.devices.own import OwnDevice, fit_device
    from nas.devices.prior import design, measurements_needed

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Device": "nas.devices.loading",
        "DEVICES": "nas.devices.names",
        "MeasuredDevice": "nas.devices.measured",
        "OwnDevice": "nas.devices.own",
        "design": "nas.devices.prior",
        "fit_device": "nas.devices.own",
        "load_device": "nas.devices.loading",
        "measurements_needed": "nas.devices.prior",
    },
)
