"""A device of your own, measured by your program.

    python my_device.py
    vbs search --target-latency 20ms --on my-phone.json --budget 2000

Replace `seconds_of` by a measurement on the device. `vbs device kit` writes the networks as ONNX
files instead, for devices that cannot run this project.
"""

from __future__ import annotations

import numpy as np

from nas.devices import design, fit_device
from search_spaces.architecture import Architecture
from search_spaces.catalog import space
from search_spaces.cost import cost


def seconds_of(network: Architecture) -> float:
    """Return the seconds of one forward pass of one image; here a formula, not a measurement."""
    spent = cost(network)
    return 2e-3 + spent.flops / 40e9 + spent.activations * 4 / 5e9


efficientnet = space("efficientnet")
genotypes = design(efficientnet, 12, np.random.default_rng(0))
seconds = [seconds_of(efficientnet.decode(each)) for each in genotypes]
device = fit_device(efficientnet, genotypes, seconds, "my-phone")
device.save("my-phone.json")

values, std = device.predict(efficientnet, genotypes[:1], "latency")
predicted, error, measured = (1e3 * each for each in (values[0], std[0], seconds[0]))
print(f"{predicted:.1f} ± {error:.1f} ms predicted, {measured:.1f} ms measured")
