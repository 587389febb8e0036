"""Names of the measured devices, and limits that options show; needs no numpy."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")  # becomes a part of the names of costs
FEWEST = 5  # fewest measured networks of a user's device
MOST = 200  # most measurements of a design

DEVICES: dict[str, str] = {
    "a100": "NVIDIA A100",
    "rtx3090": "NVIDIA RTX 3090",
    "tpuv2": "Google TPUv2",
    "tpuv3": "Google TPUv3",
    "zcu102": "Xilinx ZCU102",
    "vck190": "Xilinx VCK190",
    "train_time": "training time of the measurements",
}
