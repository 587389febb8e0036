"""Option group of timing."""

from __future__ import annotations

from dataclasses import dataclass

from train.recipe import PRESETS
from vbs.config import Config, option

BATCH = {"latency": 1, "step_time": 32}  # kind -> default batch
SECONDS = 60.0  # default duration of a measurement
# runtime of a forward pass -> required optional packages
RUNTIMES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "torch-compile": (),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


@dataclass(frozen=True, kw_only=True)
class TimingOptions(Config):
    """Options of timing; see `nas.block_times.timing.Setting`."""

    title = "timing"

    kind: str = option(
        "latency",
        choices=tuple(BATCH),
        metavar="|".join(BATCH),
        help="time of a forward pass (latency, default) or of a training step",
    )
    batch: int | None = option(
        None, limits=(1, 2**16), metavar="N", help="images per batch (default 1; step_time: 32)"
    )
    device: str = option("cpu", metavar="cpu|cuda", help="device of the networks (default cpu)")
    threads: int = option(1, metavar="N", help="threads of a CPU (default 1)")
    precision: str = option(
        "auto",
        choices=("float32", "bfloat16", "auto"),
        metavar="float32|bfloat16|auto",
        help="precision of the networks (default auto: that of trainings on the device)",
    )
    recipe: str = option(
        "proxy",
        catalog=PRESETS,
        metavar="NAME",
        help="recipe of the training step's optimizer (default proxy)",
    )
    runtime: str = option(
        "torch",
        choices=tuple(RUNTIMES),
        metavar="|".join(RUNTIMES),
        help="runtime of a forward pass (default torch, without compiling)",
    )
