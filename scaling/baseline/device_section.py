"""Report section of a baseline about its speed on measured devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.devices.measured import MeasuredDevice, measured_devices
from search_spaces.catalog import space as space_named
from search_spaces.space import SearchSpace
from vbs.page.parts import note, section, table
from vbs.units import short_seconds

TITLE = "Speed on devices"
REFERENCE = "EfficientNet-B0"  # a network of the measured space


def device_section(best: Mapping[str, Any]) -> str:
    """Return a table of the predicted speed of the found network and of the reference.

    best  content of best.json.

    The devices were measured at one input side with 1,000 classes. For a network with another side
    or number of classes, the prediction is for its layers at the measured side with 1,000 classes,
    and the page says so. Returns "" for a network that is not in the measured space.
    """
    devices = measured_devices()
    first = next(iter(devices.values()))
    space = space_named(first.space, **first.settings)
    try:
        genotype = space.encode(best["choices"])
    except (KeyError, ValueError, TypeError):
        return ""
    pair = np.stack([genotype, space.encode(space.references[REFERENCE])])
    rows = [_row(device, kind, space, pair) for device in devices.values() for kind in device.kinds]
    classes = space.decode(genotype).classes
    text = (
        f"Predicted, ± one standard deviation of a measurement, for these layers at "
        f"{space.resolution} px with {classes:,} classes, as the devices were measured. "
        f"{first.source}"
    )
    heads = ("device", "figure", "found", REFERENCE, "times as fast")
    return section(TITLE, table(heads, rows), note(text))


def _row(
    device: MeasuredDevice, kind: str, space: SearchSpace, pair: np.ndarray
) -> tuple[str, ...]:
    values, deviations = device.predict(space, pair, kind=kind)
    rate = kind == "throughput"
    shown = [
        f"{value:,.0f} ± {deviation:,.0f} images/s"
        if rate
        else f"{short_seconds(value)} ± {short_seconds(deviation)}"
        for value, deviation in zip(values, deviations, strict=True)
    ]
    faster = values[0] / values[1] if rate else values[1] / values[0]
    return device.title, kind.replace("_", " "), *shown, f"{faster:.2f}"
