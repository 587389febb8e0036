"""The group of options of timing."""

from __future__ import annotations

from dataclasses import dataclass

from train.recipe import PRESETS
from vbs.config import Config, option

BATCH = {"latency": 1, "step_time": 32}  # images at a time, by default
SECONDS = 60.0  # of measuring
# what runs a forward pass: name -> packages that are not always installed
RUNTIMES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "torch-compile": (),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


@dataclass(frozen=True, kw_only=True)
class TimingOptions(Config):
    """What is timed, and how; see `nas.block_times.timing.Setting`."""

    title = "timing"

    kind: str = option(
        "latency",
        choices=tuple(BATCH),
        metavar="|".join(BATCH),
        help="forward pass, or training step (default latency)",
    )
    batch: int | None = option(
        None, limits=(1, 2**16), metavar="N", help="images at a time (default 1; step_time: 32)"
    )
    device: str = option("cpu", metavar="cpu|cuda", help="default cpu")
    threads: int = option(1, metavar="N", help="threads of a CPU (default 1)")
    precision: str = option(
        "auto",
        choices=("float32", "bfloat16", "auto"),
        metavar="float32|bfloat16|auto",
        help="default auto",
    )
    recipe: str = option(
        "proxy", catalog=PRESETS, metavar="NAME", help="recipe whose optimizer a step has"
    )
    runtime: str = option(
        "torch",
        choices=tuple(RUNTIMES),
        metavar="|".join(RUNTIMES),
        help="what runs a forward pass (default torch, without compiling)",
    )
