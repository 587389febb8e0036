"""Options of `python -m nas.devices.kit`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.devices.names import FEWEST, MOST
from nas.options import SpaceOptions
from vbs.config import option
from vbs.options import Command

RECORD, TIMES, SCRIPT, README, NETWORKS = (
    "kit.json",
    "times.csv",
    "measure.py",
    "README.md",
    "networks",
)
USUAL = 10  # default number of networks in a kit
MOST_CHECKS = 1000


@dataclass(frozen=True, kw_only=True)
class KitConfig(SpaceOptions):
    """Options of a kit: the networks to measure on a device."""

    title = "kit"

    count: int | None = option(
        None,
        limits=(FEWEST, MOST),
        metavar="N",
        help=f"networks for the fit of the device (default {USUAL}; a space without measured "
        "devices may need more)",
    )
    check_networks: int = option(
        0,
        limits=(0, MOST_CHECKS),
        metavar="N",
        help="further random networks that only test the fit (default 0)",
    )
    batch: int = option(
        1, limits=(1, 2**12), metavar="N", help="images per forward pass on the device (default 1)"
    )
    seed: int = option(
        0, limits=(0, 2**63 - 1), metavar="N", help="seed of the choice of networks (default 0)"
    )


COMMAND = Command(
    program="nas.devices.kit",
    config=KitConfig,
    run="nas.devices.kit.run:write_kit",
    report="nas.devices.kit.report:show_result",
    kind="kit",
    record=RECORD,
    resumable=False,
    description="Write networks to measure on your own device.",
    epilog="""\
The folder gets networks/*.onnx, measure.py (needs numpy, and onnxruntime or OpenVINO), an empty
times.csv and a README for other runtimes. Copy it to the device, fill in times.csv there with
measure.py or by hand, and fit a device to it with python -m nas.devices.fit.""",
)
